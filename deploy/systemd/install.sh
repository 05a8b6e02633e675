#!/bin/sh
# Write the units of this folder for one installation. They run as whoever owns the settings file.
#   install.sh SETTINGS           as root: units of the system; else: units of this user
#   install.sh SETTINGS FOLDER    units of this user, into FOLDER
set -eu

fail() { echo "$0: $1" >&2; exit 1; }

[ $# -ge 1 ] || fail "name the settings file (a copy of deploy/settings.env)"
[ -f "$1" ] || fail "$1: no such file"
here=$(cd "$(dirname "$0")" && pwd)
cosmo=$(cd "$here/../.." && pwd)
settings=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
case "$cosmo$settings" in *[!A-Za-z0-9/._+-]*) fail "a path of units may hold letters, digits and /._+- only" ;; esac
[ -x "$cosmo/.venv/bin/dagster" ] || fail "$cosmo/.venv is missing: run 'make setup' in $cosmo first"

owner=$(stat -c %U "$settings")
user="# the user whose manager runs it"
wanted_by=default.target
if [ $# -ge 2 ]; then
    units=$2
elif [ "$(id -u)" = 0 ]; then
    [ "$owner" != root ] || fail "$settings belongs to root: let it belong to the user who shall run Cosmo"
    units=/etc/systemd/system user="User=$owner" wanted_by=multi-user.target
else
    units=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user
fi

chmod 600 "$settings" # it may hold the password of Postgres
mkdir -p "$units"
for unit in "$here"/cosmo*.*; do
    sed -e "s|@cosmo@|$cosmo|g" -e "s|@settings@|$settings|g" -e "s|@user@|$user|" -e "s|@wanted_by@|$wanted_by|" \
        "$unit" >"$units/$(basename "$unit")"
done
echo "$units: $(ls "$here" | grep -c '^cosmo') units"
