#!/usr/bin/env bash
# Makes the image of nginx under its name, where no registry has it: that of Python with this machine's nginx in it.
#
#   nginx_image.sh NGINX_IMAGE PYTHON_IMAGE
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
program=$(PATH=/usr/sbin:$PATH command -v nginx)
mkdir -p "$here/root/usr/sbin"
cp "$program" "$here/root/usr/sbin/nginx"
ldd "$program" | awk '$3 ~ "^/" {print $3}' | while read -r library; do
  install -D "$library" "$here/root/opt/nginx/$(basename "$library")"
done
cat >"$here/Dockerfile" <<END
FROM $2
COPY root /
ENV LD_LIBRARY_PATH=/opt/nginx
END
docker buildx build --quiet --load --tag "$1" "$here" >/dev/null
