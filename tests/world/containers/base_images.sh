#!/usr/bin/env bash
# Makes the two images that Dockerfile and docker-compose.yaml start from, under their names, where no registry has them:
#
#   base_images.sh PYTHON_IMAGE POSTGRES_IMAGE PYTHON_PREFIX POSTGRES_PREFIX
#
# The first is Debian's base system with the CPython of PYTHON_PREFIX; the second adds the Postgres of POSTGRES_PREFIX, and does
# of the official image's entry point what docker-compose.yaml needs. Root; `docker` and the engine are the environment's. Each has
# a label with the digest of this script, so that a change of it is seen.
set -euo pipefail
stand_in=headrace.stand-in=$(sha256sum <"$0" | cut -c1-16)
python_image=$1 postgres_image=$2 python=$3 postgres=$4
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT

if ! docker image inspect "$python_image" >/dev/null 2>&1; then
  . /etc/os-release
  mirror=$(apt-get indextargets --format '$(REPO_URI)' "Codename: $VERSION_CODENAME" | head -1)
  # What CPython's own modules are linked with.
  libraries=libssl3,libffi8,libsqlite3-0,libbz2-1.0,liblzma5,libreadline8,libncursesw6,libuuid1,libgdbm6
  mkdir "$here/root"
  # As Debian's slim image: no documentation, no translations, and no Perl, which `usrmerge` would bring. As Python's: no symbols.
  without_perl="chroot \"\$1\" apt-get purge -y -qq --auto-remove usrmerge perl '^libperl5' '^perl-modules-' >/dev/null"
  mmdebstrap --quiet --variant=minbase '--aptopt=APT::Install-Recommends "false"' "--customize-hook=$without_perl" \
    "--include=usr-is-merged,ca-certificates,netbase,tzdata,$libraries" "$VERSION_CODENAME" - "$mirror" |
    tar -xC "$here/root"
  version=$("$python/bin/python3" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  tar -C "$python" --exclude=__pycache__ --exclude=test --exclude='libpython*.a' --exclude='site-packages/*' -c \
    "bin/python$version" lib | tar -xC "$here/root/usr/local"
  ! command -v strip >/dev/null || find "$here/root/usr/local" -type f \( -name '*.so*' -o -name "python$version" \) \
    -exec strip --strip-unneeded {} +
  rm -rf "$here"/root/usr/share/{locale,doc,man,info,lintian,bug} "$here"/root/var/{lib/apt/lists,cache/apt}/*
  for name in python python3; do ln -s "python$version" "$here/root/usr/local/bin/$name"; done
  chroot "$here/root" ldconfig
  # The registry of packages may stand behind an authority that only this machine knows.
  cp -L /etc/ssl/certs/ca-certificates.crt "$here/root/etc/ssl/certs/ca-certificates.crt"
  printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' >"$here/root/etc/pip.conf"
  tar -C "$here/root" -c . | docker import -c "LABEL $stand_in" -c 'CMD ["python3"]' -c 'ENV LANG=C.UTF-8' \
    -c 'ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt' \
    -c 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' - "$python_image" >/dev/null
fi

if ! docker image inspect "$postgres_image" >/dev/null 2>&1; then
  mkdir "$here/postgres"
  # Where it stands in its package, for it finds its libraries from there.
  package=$(dirname "$postgres")
  mkdir -p "$here/postgres/pg/$(basename "$package")"
  cp -a "$postgres" "$here/postgres/pg/$(basename "$package")/pg"
  for libraries in "$package".libs; do [[ ! -d $libraries ]] || cp -a "$libraries" "$here/postgres/pg/"; done
  cat >"$here/postgres/entrypoint" <<'END'
#!/bin/sh
set -e
if [ "$(id -u)" = 0 ]; then
  install -d -o 999 -g 999 -m 700 "$PGDATA"
  chown 999:999 /var/lib/postgresql
  exec setpriv --reuid=999 --regid=999 --clear-groups "$0" "$@"
fi
: "${POSTGRES_PASSWORD:=$(cat "${POSTGRES_PASSWORD_FILE:-/dev/null}")}"
if ! [ -s "$PGDATA/PG_VERSION" ]; then
  printf '%s\n' "$POSTGRES_PASSWORD" >/tmp/password
  initdb -U "$POSTGRES_USER" --pwfile=/tmp/password --auth-host=scram-sha-256 --auth-local=trust
  rm /tmp/password
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
  pg_ctl -w start -o "-c listen_addresses= -k /tmp"
  [ "$POSTGRES_DB" = postgres ] || createdb -h /tmp -U "$POSTGRES_USER" "$POSTGRES_DB"
  pg_ctl -w stop -m fast
fi
exec postgres -c 'listen_addresses=*' -k /tmp "$@"
END
  cat >"$here/postgres/Dockerfile" <<END
FROM $python_image
RUN groupadd -g 999 postgres && useradd -u 999 -g 999 -d /var/lib/postgresql postgres \\
    && install -d -o 999 -g 999 -m 1777 /var/lib/postgresql
COPY --chown=0:0 pg /opt/pg
COPY --chmod=755 entrypoint /entrypoint
ENV PATH=/opt/pg/$(basename "$package")/pg/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PGDATA=/var/lib/postgresql/18/docker
VOLUME /var/lib/postgresql
STOPSIGNAL SIGINT
ENTRYPOINT ["/entrypoint"]
CMD []
END
  docker buildx build --quiet --load --label "$stand_in" --tag "$postgres_image" "$here/postgres" >/dev/null
fi
