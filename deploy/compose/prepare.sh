#!/bin/sh
# What compose.yaml needs beside itself and must not be in the project: `.env` with a password of Postgres that is made
# here, and `secrets/` with a certificate and the first operator. What is there already stays.
#   prepare.sh NAME      asks twice for the password of the operator NAME
set -eu

[ $# = 1 ] || { echo "$0: name the first operator" >&2; exit 1; }
cd "$(dirname "$0")"
umask 077
mkdir -p secrets recipes
chmod 755 secrets recipes # nginx's workers read the one, the user of the image the other
if [ ! -f .env ]; then
    printf 'COMPOSE_PROJECT_NAME=cosmo\nPGPASSWORD=%s\n' "$(openssl rand -hex 24)" >.env
fi
if [ ! -f secrets/tls.key ]; then
    # Signed by itself, to begin with: put the site's own certificate in its place.
    openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
        -keyout secrets/tls.key -out secrets/tls.crt 2>/dev/null
fi
if [ ! -f secrets/operators ]; then
    hashed=$(openssl passwd -6)
    echo "$1:$hashed" >secrets/operators
    cp secrets/operators secrets/readers
    chmod 644 secrets/operators secrets/readers
fi
echo "$PWD: .env and secrets/ are there"
