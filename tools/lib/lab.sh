# Sourced by tools/demo and tools/dev: little networks in namespaces. LAB is the prefix of their names, DECAPSULATOR the
# program that takes tunnels off at the backends.
# shellcheck shell=bash
#
# routed     client ── eth0 switch eth1 ── lan ── b1, b2, b3        the switch is the backends' gateway
# one-arm    client, switch eth0, b1, b2, b3 at one bridge
# far        client ── eth0 switch eth1 ── router ── lan ── b1…     answers may go from the router to the client
#              └───────────────────────────┘
# bridge     client ── router ── up ── eth0 switch eth1 ── lan ── b1…     one subnet on both sides of the switch
# home       client ── lan ── eth1 switch eth0 ── up ── b1…         the client is inside, the servers are outside
#
# Hosts are 198.18.NET.HOST and 2001:db8:NET::HOST, at home inside 10.0.0.HOST and 2001:db8:10::HOST; the drawings with
# all addresses stand in tests/common/lab.rs.

BACKENDS=(b1 b2 b3)
WEIGHTS=(2 3 5)
FAMILIES=(4 6)
# shellcheck disable=SC2034 # for those who source this
SNAT_SHARES=(1 1 1)

# address FAMILY NET HOST
address() {
    if [[ $1 == 4 ]]; then echo "198.18.$2.$3"; else echo "2001:db8:$2::$3"; fi
}

# inside FAMILY HOST: an address at home.
inside() {
    if [[ $1 == 4 ]]; then echo "10.0.0.$2"; else echo "2001:db8:10::$2"; fi
}

prefix_length() {
    if [[ $1 == 4 ]]; then echo 24; else echo 64; fi
}

# with_port ADDRESS PORT
with_port() {
    if [[ $1 == *:* ]]; then echo "[$1]:$2"; else echo "$1:$2"; fi
}

# vip FAMILY
vip() {
    address "$1" 0 100
}

# is_direct FORWARDING: whether backends hold the VIP and answer clients past the switch.
is_direct() {
    [[ $1 == dsr || $1 == ipip || $1 == gue ]]
}

# topology_of MODE: the network that shows it.
topology_of() {
    case $1 in
        nat | full-nat) echo routed ;;
        one-arm | dsr) echo one-arm ;;
        ipip | gue) echo far ;;
        bridge) echo bridge ;;
        snat) echo home ;;
        *) fail "there is no mode $1: nat, full-nat, one-arm, dsr, ipip, gue, bridge, snat" ;;
    esac
}

# forwarding_of MODE: the word in the configuration.
forwarding_of() {
    case $1 in
        one-arm) echo full-nat ;;
        bridge) echo nat ;;
        *) echo "$1" ;;
    esac
}

# in_host HOST COMMAND…: runs a command at a host of the lab.
in_host() {
    local host=$1
    shift
    ip netns exec "$LAB-$host" "$@"
}

# new_host NAME: a namespace whose kernel forwards nothing: what arrives went through xswitch.
new_host() {
    ip netns add "$LAB-$1"
    ip -n "$LAB-$1" link set lo up
    in_host "$1" sysctl --quiet --write net.ipv4.ip_forward=0 net.ipv4.conf.all.rp_filter=0 \
        net.ipv4.conf.default.rp_filter=0 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0 \
        net.ipv6.conf.all.forwarding=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0
}

new_router() {
    new_host "$1"
    in_host "$1" sysctl --quiet --write net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
}

new_bridge() {
    new_host "$1"
    in_host "$1" sysctl --quiet --write net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
    ip -n "$LAB-$1" link add name br0 type bridge
    ip -n "$LAB-$1" link set br0 up
}

# cable HOST INTERFACE PEER_HOST PEER_INTERFACE
cable() {
    ip link add name "$2" netns "$LAB-$1" type veth peer name "$4" netns "$LAB-$3"
    local host interface
    while read -r host interface; do
        # A sender on a veth leaves its checksums and segments unfinished, for the receiving kernel to complete;
        # a switch in between reads frames as they would be on a wire.
        in_host "$host" ethtool --offload "$interface" tx off tso off gso off gro off >/dev/null
        ip -n "$LAB-$host" link set "$interface" up
    done <<<"$1 $2"$'\n'"$3 $4"
}

# plug HOST INTERFACE BRIDGE
plug() {
    cable "$1" "$2" "$3" "$1-$2"
    ip -n "$LAB-$3" link set "$1-$2" master br0
}

# give HOST INTERFACE NET HOST_NUMBER: its address of either family.
give() {
    local family
    for family in "${FAMILIES[@]}"; do
        give_address "$1" "$2" "$family" "$(address "$family" "$3" "$4")/$(prefix_length "$family")"
    done
}

# give_address HOST INTERFACE FAMILY ADDRESS/LENGTH
give_address() {
    local at_once=()
    [[ $3 == 4 ]] || at_once=(nodad)
    ip -n "$LAB-$1" address add "$4" dev "$2" "${at_once[@]}"
}

# gateway HOST NET HOST_NUMBER [TO_NET]: its default route, or that to a network.
gateway() {
    local family prefix=default
    for family in "${FAMILIES[@]}"; do
        [[ $# -lt 4 ]] || prefix=$(address "$family" "$4" 0)/$(prefix_length "$family")
        ip "-$family" -n "$LAB-$1" route add "$prefix" via "$(address "$family" "$2" "$3")"
    done
}

# lab_up MODE DIRECTORY: builds the network and starts the servers, whose files lie in DIRECTORY.
lab_up() {
    local topology
    topology=$(topology_of "$1")
    new_host client
    new_host switch
    new_bridge lan
    case $topology in
        routed) routed_up ;;
        one-arm) one_arm_up ;;
        far) far_up ;;
        bridge) bridge_up ;;
        home) home_up ;;
    esac
    local number
    for number in "${!BACKENDS[@]}"; do
        backend_up "$1" "$topology" "$((number + 1))" "$2"
    done
}

routed_up() {
    cable switch eth0 client eth0
    plug switch eth1 lan
    give client eth0 0 1
    give switch eth0 0 2
    give switch eth1 1 1
    give switch eth1 1 2
}

one_arm_up() {
    plug client eth0 lan
    plug switch eth0 lan
    give client eth0 0 1
    give switch eth0 0 2
}

far_up() {
    new_router router
    cable switch eth0 client eth0
    cable switch eth1 router eth0
    plug router eth1 lan
    cable router eth2 client eth1
    give client eth0 0 1
    give switch eth0 0 2
    give switch eth1 2 1
    give router eth0 2 254
    give router eth1 1 254
    give router eth2 3 254
    give client eth1 3 1
    gateway switch 2 254 1
    gateway router 3 1 0
}

bridge_up() {
    new_router router
    new_bridge up
    cable client eth0 router eth1
    plug router eth0 up
    plug switch eth0 up
    plug switch eth1 lan
    # The far end of a veth takes what an XDP program redirects to the near one only where it polls, as for GRO.
    in_host up ethtool --offload switch-eth0 gro on >/dev/null
    in_host lan ethtool --offload switch-eth1 gro on >/dev/null
    give client eth0 3 1
    give router eth1 3 254
    give router eth0 0 254
    give switch eth0 0 2
    gateway client 3 254
    gateway switch 0 254
}

home_up() {
    local family
    new_bridge up
    plug client eth0 lan
    plug switch eth1 lan
    plug switch eth0 up
    give switch eth0 0 2
    for family in "${FAMILIES[@]}"; do
        give_address client eth0 "$family" "$(inside "$family" 11)/$(prefix_length "$family")"
        give_address switch eth1 "$family" "$(inside "$family" 1)/$(prefix_length "$family")"
        ip "-$family" -n "$LAB-client" route add default via "$(inside "$family" 1)"
    done
}

# backend_address FAMILY TOPOLOGY NUMBER
backend_address() {
    case $2 in
        routed | far) address "$1" 1 "$((10 + $3))" ;;
        home) address "$1" 0 "$((20 + $3))" ;;
        *) address "$1" 0 "$((10 + $3))" ;;
    esac
}

# backend_up MODE TOPOLOGY NUMBER DIRECTORY
backend_up() {
    local host=b$3 family bridge=lan listen=()
    new_host "$host"
    [[ $2 != home ]] || bridge=up
    plug "$host" eth0 "$bridge"
    for family in "${FAMILIES[@]}"; do
        give_address "$host" eth0 "$family" "$(backend_address "$family" "$2" "$3")/$(prefix_length "$family")"
        listen+=("$(with_port "$(backend_address "$family" "$2" "$3")" 8080)")
    done
    case $2 in
        routed) gateway "$host" 1 1 ;;
        far) gateway "$host" 1 254 ;;
        bridge) gateway "$host" 0 254 ;;
    esac
    if is_direct "$1"; then
        hold_vips "$host"
        listen=()
        for family in "${FAMILIES[@]}"; do
            # A tunnel of the other family has a service of its own.
            listen+=("$(with_port "$(vip "$family")" 80)" "$(with_port "$(vip "$family")" 1080)")
        done
    fi
    [[ $2 != far ]] || start_decapsulator "$host" "$4"
    start_nginx "$host" "$4/$host" "${listen[@]}"
}

# hold_vips HOST: the VIPs on its loopback, where nobody hears of them.
hold_vips() {
    in_host "$1" sysctl --quiet --write net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
    give_address "$1" lo 4 "$(vip 4)/32"
    give_address "$1" lo 6 "$(vip 6)/128"
}

start_decapsulator() {
    local log=$2/$1.decapsulator.log attempt
    ip netns exec "$LAB-$1" "$DECAPSULATOR" >"$log" 2>&1 &
    # Its end is no news to this shell.
    disown
    for attempt in {1..50}; do
        ! grep --quiet --no-messages 'taking tunnels off' "$log" || return 0
        sleep 0.1
    done
    cat "$log" >&2
    fail "the decapsulator did not start (attempt $attempt); its log is above"
}

# start_nginx HOST DIRECTORY ADDRESS:PORT…: a web server that says its name.
start_nginx() {
    local host=$1 directory=$2
    shift 2
    mkdir -p "$directory"
    cat >"$directory/nginx.conf" <<END
user root;
pid $directory/nginx.pid;
events {}
http {
    access_log off;
    default_type text/plain;
    client_body_temp_path $directory/body;
    proxy_temp_path $directory/proxy;
    fastcgi_temp_path $directory/fastcgi;
    uwsgi_temp_path $directory/uwsgi;
    scgi_temp_path $directory/scgi;
    server {
$(printf '        listen %s;\n' "$@")
        location / { return 200 "$host\n"; }
    }
}
END
    in_host "$host" nginx -e "$directory/error.log" -c "$directory/nginx.conf"
}

# service_of VIP_FAMILY BACKEND_FAMILY: where clients find the web.
service_of() {
    local port=80
    [[ $1 == "$2" ]] || port=1080
    with_port "$(vip "$1")" "$port"
}

# lab_config MODE SOCKET VIP_FAMILY BACKEND_FAMILY: prints a configuration for this network.
lab_config() {
    local interfaces='"eth0", "eth1"'
    [[ $(topology_of "$1") != one-arm ]] || interfaces='"eth0"'
    printf '[switch]\ninterfaces = [%s]\ncontrol_socket = "%s"\nmetrics_listen = "127.0.0.1:9500"\n' "$interfaces" "$2"
    case $1 in
        bridge) printf 'topology = "bridge"\n' ;;
        full-nat) printf 'snat_addresses = ["%s"]\n' "$(address "$3" 1 2)" ;;
        one-arm) printf 'snat_addresses = ["%s"]\n' "$(address "$3" 0 3)" ;;
    esac
    if [[ $1 == snat ]]; then
        printf '\n[[snat]]\nname = "home"\ninside = ["%s/%s"]\naddresses = ["%s"]\n' \
            "$(inside "$3" 0)" "$(prefix_length "$3")" "$(address "$3" 0 3)"
    else
        service_config "$1" "$3" "$4"
    fi
}

# service_config MODE VIP_FAMILY BACKEND_FAMILY
service_config() {
    local number port=8080 topology service
    topology=$(topology_of "$1")
    service=$(service_of "$2" "$3")
    ! is_direct "$1" || port=${service##*:}
    cat <<END

[[service]]
name = "web"
vip = "$service"
protocol = "tcp"
forwarding = "$(forwarding_of "$1")"
scheduler = "wrr"
END
    for number in "${!BACKENDS[@]}"; do
        cat <<END
[[service.backend]]
address = "$(with_port "$(backend_address "$3" "$topology" "$((number + 1))")" "$port")"
weight = ${WEIGHTS[number]}
END
    done
}

# start_switch BINARY CONFIG SOCKET LOG: starts xswitch and waits until its program is on every interface.
# Its pid is in SWITCH_PID afterwards.
start_switch() {
    # Not by in_host: a function would run in a shell of its own, and that shell would get the signals.
    ip netns exec "$LAB-switch" "$1" run --config "$2" >"$4" 2>&1 &
    SWITCH_PID=$!
    local attempt interfaces
    interfaces=$(ip -n "$LAB-switch" -oneline link show type veth | wc --lines)
    for attempt in {1..100}; do
        if ! kill -0 "$SWITCH_PID" 2>/dev/null; then
            break
        fi
        if [[ $(ip -n "$LAB-switch" link show | grep --count 'prog/xdp') == "$interfaces" ]] &&
            in_host switch "$1" status --json --socket "$3" >/dev/null 2>&1; then
            return
        fi
        sleep 0.1
    done
    cat "$4" >&2
    say "error: xswitch did not start (attempt $attempt); its log is above"
    return 1
}

# stop_switch: SIGTERM; returns the switch's exit code.
stop_switch() {
    kill -TERM "$SWITCH_PID"
    wait "$SWITCH_PID"
}

# lab_down: ends what runs in the namespaces of this prefix and removes them; works on any leftover, too.
lab_down() {
    local namespace pids
    for namespace in $(ip netns list | awk -v prefix="$LAB-" 'index($1, prefix) == 1 { print $1 }'); do
        pids=$(ip netns pids "$namespace")
        # shellcheck disable=SC2086 # one pid per word
        [[ -z $pids ]] || kill -KILL $pids 2>/dev/null || true
        ip netns delete "$namespace" || true
    done
}
