# SPDX-License-Identifier: MIT OR Apache-2.0
# Installs the packages named as arguments, and starts none of the daemons that come with them.
# Called with `sh -eu`, as root.

policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    # Maintainer scripts ask this file before they start a daemon; 101 forbids it.
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
# A new machine's lists may be old or missing; one unreachable mirror must not be the end.
apt-get --quiet update || echo "apt-get update failed; going on with the lists at hand" >&2
# Whoever changed a configuration file keeps theirs, and nobody is asked.
apt-get --quiet --yes --no-install-recommends \
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold install "$@" </dev/null
