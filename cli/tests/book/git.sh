#!/bin/sh
# Replaces `git` while a test runs the book's commands: "clones" the tested checkout.
#
# The clone consists of links, so that commands write nothing into the real checkout and use its builds.
set -eu
if [ "$*" != "clone https://github.com/wren-rs/wren" ]; then
  echo "error: the book's test cannot run git $*" >&2
  exit 1
fi
mkdir wren
for entry in "$CHECKOUT"/*; do
  case ${entry##*/} in
    target) ;;
    # Cargo writes it.
    Cargo.lock) cp "$entry" wren/ ;;
    *) ln -s "$entry" wren/ ;;
  esac
done
