# Sourced by the tools: what they say, need and install.
# shellcheck shell=bash
# shellcheck disable=SC2034 # the tools that source this use the lists

# What building needs: clang compiles the XDP program, the rest is libxdp's.
BUILD_PACKAGES=(build-essential clang llvm libelf-dev zlib1g-dev m4 pkg-config gcc-multilib libbpf-dev)
# What the namespaces and the hosts in them need.
LAB_PACKAGES=(iproute2 ethtool procps nginx curl iputils-ping dnsmasq-base)
# What only tests need.
TEST_PACKAGES=(iputils-arping iputils-tracepath traceroute nftables tcpdump tshark python3-scapy jq iperf3 socat tmux valgrind shellcheck openssl chromium prometheus systemd)

# Makes the Debian package.
CARGO_DEB_VERSION=3.8.0

say() {
    printf '%s\n' "$*" >&2
}

fail() {
    say "error: $*"
    exit 1
}

need_root() {
    [[ $EUID -eq 0 ]] || fail "$1 needs root: it creates network namespaces and attaches XDP programs"
}

need_cargo() {
    # rustup puts cargo where a root shell does not look by itself.
    if ! command -v cargo >/dev/null && [[ -x $HOME/.cargo/bin/cargo ]]; then
        PATH=$HOME/.cargo/bin:$PATH
    fi
    command -v cargo >/dev/null ||
        fail "cargo is missing: install Rust with rustup (https://rustup.rs), then start again"
}

# install_missing PACKAGE…: says what it installs before it does.
install_missing() {
    local package missing=()
    for package in "$@"; do
        [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
            missing+=("$package")
    done
    if ((${#missing[@]} == 0)); then
        return
    fi
    say "installing with apt-get: ${missing[*]}"
    command -v apt-get >/dev/null || fail "there is no apt-get: install these packages by your system's means"
    [[ $EUID -eq 0 ]] || fail "installing packages needs root"
    without_starting_services apt_get update
    without_starting_services apt_get install --yes --no-install-recommends "${missing[@]}"
}

apt_get() {
    DEBIAN_FRONTEND=noninteractive apt-get --quiet --quiet -o DPkg::Lock::Timeout=600 "$@" >&2
}

# Debian starts a daemon as soon as its package is there; this machine did not ask for a web server.
without_starting_services() {
    local policy=/usr/sbin/policy-rc.d code=0
    if [[ -e $policy ]]; then
        "$@"
        return
    fi
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    "$@" || code=$?
    rm -f "$policy"
    return "$code"
}

# Half a minute: unoptimised, because all it does is copy files, and without a compressor of its own.
install_cargo_deb() {
    if ! cargo deb --version >/dev/null 2>&1; then
        say "installing cargo-deb $CARGO_DEB_VERSION with cargo"
        cargo install --locked --debug --no-default-features --version "$CARGO_DEB_VERSION" cargo-deb >&2
    fi
}
