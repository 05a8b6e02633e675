#!/bin/sh
# A role and a database for Dagster's record, with a password that is generated here and appended to the settings file.
#   create.sh SETTINGS [psql options of an administrator, such as --host and --username]
set -eu

fail() { echo "$0: $1" >&2; exit 1; }
value() { sed -n "s/^$1=//p" "$settings"; }

[ $# -ge 1 ] && [ -f "$1" ] || fail "name the settings file (a copy of deploy/settings.env)"
settings=$1
shift
role=$(value PGUSER) database=$(value PGDATABASE)
[ -n "$role" ] && [ -n "$database" ] || fail "$settings: set PGHOST, PGPORT, PGUSER and PGDATABASE first"
case "$role$database" in *[!a-z0-9_]*) fail "PGUSER and PGDATABASE may hold a-z, 0-9 and _ only" ;; esac
[ -z "$(value PGPASSWORD)" ] || fail "$settings has a PGPASSWORD already"

password=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
# By standard input: what stands on a command line, everybody on the machine can see.
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 "$@" <<SQL
CREATE ROLE $role LOGIN PASSWORD '$password';
CREATE DATABASE $database OWNER $role;
SQL
chmod 600 "$settings"
echo "PGPASSWORD=$password" >>"$settings"
