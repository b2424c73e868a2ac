# Sourced by tools/demo and tools/dev: a little network in namespaces. LAB is the prefix of their names.
# shellcheck shell=bash
#
#    client                 switch                       lan (a bridge)
#   198.18.0.1 ── eth0  198.18.0.2   198.18.1.1  eth1 ──┬── b1  198.18.1.11:8080  nginx
#                  VIP  198.18.0.100 198.18.1.2 (SNAT)  ├── b2  198.18.1.12:8080  nginx
#                                                       └── b3  198.18.1.13:8080  nginx

VIP=198.18.0.100
BACKENDS=(b1 b2 b3)
WEIGHTS=(2 3 5)

# in_host HOST COMMAND…: runs a command at a host of the lab.
in_host() {
    local host=$1
    shift
    ip netns exec "$LAB-$host" "$@"
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

# lab_up DIRECTORY: builds the network and starts the servers, whose files lie in DIRECTORY.
lab_up() {
    local host number
    for host in client switch lan "${BACKENDS[@]}"; do
        ip netns add "$LAB-$host"
        ip -n "$LAB-$host" link set lo up
        # The kernels forward nothing: what arrives went through xswitch.
        in_host "$host" sysctl --quiet --write net.ipv4.ip_forward=0
    done
    cable switch eth0 client eth0
    cable switch eth1 lan switch
    ip -n "$LAB-client" address add 198.18.0.1/24 dev eth0
    ip -n "$LAB-switch" address add 198.18.0.2/24 dev eth0
    ip -n "$LAB-switch" address add 198.18.1.1/24 dev eth1
    ip -n "$LAB-switch" address add 198.18.1.2/24 dev eth1
    ip -n "$LAB-lan" link add name br0 type bridge
    ip -n "$LAB-lan" link set br0 up
    ip -n "$LAB-lan" link set switch master br0
    for number in "${!BACKENDS[@]}"; do
        host=${BACKENDS[number]}
        cable "$host" eth0 lan "$host"
        ip -n "$LAB-lan" link set "$host" master br0
        ip -n "$LAB-$host" address add "198.18.1.$((11 + number))/24" dev eth0
        ip -n "$LAB-$host" route add default via 198.18.1.1
        start_nginx "$host" "$1/$host"
    done
}

# start_nginx HOST DIRECTORY: a web server that says its name.
start_nginx() {
    local directory=$2
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
        listen 8080;
        location / { return 200 "$1\n"; }
    }
}
END
    in_host "$1" nginx -e "$directory/error.log" -c "$directory/nginx.conf"
}

# lab_config FORWARDING SOCKET: prints a configuration for this network.
lab_config() {
    local number
    cat <<END
[switch]
interfaces = ["eth0", "eth1"]
snat_addresses = ["198.18.1.2"]
control_socket = "$2"
metrics_listen = "127.0.0.1:9500"

[[service]]
name = "web"
vip = "$VIP:80"
protocol = "tcp"
forwarding = "$1"
scheduler = "wrr"
END
    for number in "${!BACKENDS[@]}"; do
        cat <<END
[[service.backend]]
address = "198.18.1.$((11 + number)):8080"
weight = ${WEIGHTS[number]}
END
    done
}

# start_switch BINARY CONFIG SOCKET LOG: starts xswitch and waits until its program is on both interfaces.
# Its pid is in SWITCH_PID afterwards.
start_switch() {
    in_host switch "$1" run --config "$2" >"$4" 2>&1 &
    SWITCH_PID=$!
    local attempt
    for attempt in {1..100}; do
        if ! kill -0 "$SWITCH_PID" 2>/dev/null; then
            break
        fi
        if [[ $(ip -n "$LAB-switch" link show | grep --count 'prog/xdp') == 2 ]] &&
            in_host switch "$1" status --json --socket "$3" >/dev/null 2>&1; then
            return
        fi
        sleep 0.1
    done
    cat "$4" >&2
    fail "xswitch did not start (attempt $attempt); its log is above"
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
