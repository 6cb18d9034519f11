#!/bin/sh
# Installs what the Python client needs: Debian's python3-msgpack, for /usr/bin/python3. Does nothing if it is there.
set -e
/usr/bin/python3 -c 'import msgpack' 2>/dev/null && exit 0
export DEBIAN_FRONTEND=noninteractive
apt-get -qq install --yes python3-msgpack >/dev/null 2>&1 || { apt-get -qq update && apt-get -qq install --yes python3-msgpack; }
