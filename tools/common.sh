# What the scripts of this project share.  Sourced, never run: the caller has set `set -euo pipefail`.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
# die CAUSE [REMEDY]
die() {
  printf 'error: %s\n' "$1" >&2
  if [ $# -gt 1 ]; then printf '  %s\n' "$2" >&2; fi
  exit 1
}

# The distribution's Meson, run by the distribution's Python: another python3 may come first on PATH and
# know nothing of it.  A Meson elsewhere (pip, another distribution) is taken where there is none of those.
run_under=()  # a wrapper such as setarch with its arguments
meson() {
  local program=(meson)
  if [ -x /usr/bin/meson ] && [ -x /usr/bin/python3 ] && head -n 1 /usr/bin/meson | grep -q python; then
    program=(/usr/bin/python3 /usr/bin/meson)
  fi
  command "${run_under[@]}" "${program[@]}" "$@"
}

# supervise COMMAND...: runs it in a process group of its own, so that whatever ends this script ends the whole
# group too: asked politely first, killed after ten seconds.  Returns the command's exit status.
supervised=
beat=
supervise() {
  local status=0
  set -m
  "$@" </dev/null &
  supervised=$!
  set +m
  wait "$supervised" || status=$?
  supervised=
  return "$status"
}

# The signal handler: `trap 'interrupted 130' INT; trap 'interrupted 143' TERM HUP`.
interrupted() {
  trap '' INT TERM HUP
  if [ -n "$beat" ]; then kill "$beat" 2>/dev/null || true; fi
  if [ -n "$supervised" ]; then
    kill -TERM -- "-$supervised" 2>/dev/null || true
    local tries=0
    while kill -0 -- "-$supervised" 2>/dev/null && [ "$tries" -lt 100 ]; do
      sleep 0.1
      tries=$((tries + 1))
    done
    kill -KILL -- "-$supervised" 2>/dev/null || true
  fi
  printf 'interrupted\n' >&2
  exit "$1"
}

# Redirects the command alone: what a signal handler says meanwhile still goes where the script's words go.
into() {
  local log=$1
  shift
  "$@" >"$log" 2>&1
}

# logged LOG WHAT COMMAND...: the command's output goes to LOG; a line now and then says that it lives, and the
# end of the log is shown where the command fails.
logged() {
  local log=$1 what=$2 status=0
  shift 2
  mkdir -p "$(dirname "$log")"
  : >"$log"
  (
    trap 'kill $! 2>/dev/null; exit 0' TERM
    while sleep 30 >/dev/null 2>&1 & wait $!; do
      say "  $what: $(tail -n 1 "$log" | tr '\r' '\n' | tail -n 1 | cut -c 1-100)"
    done
  ) &
  beat=$!
  supervise into "$log" "$@" || status=$?
  kill "$beat" 2>/dev/null || true
  wait "$beat" 2>/dev/null || true
  beat=
  if [ "$status" -ne 0 ]; then
    printf 'error: %s failed (status %s).  The end of %s:\n' "$what" "$status" "$log" >&2
    tail -n 40 "$log" | sed 's/^/  | /' >&2
  fi
  return "$status"
}

# configure DIR OPTION...: meson setup, or again where the options are not those of the last time.  Meson itself
# notices changed meson.build files.
configure() {
  local dir=$1 options verb=()
  shift
  options=$(printf '%s\n' "$@")
  if [ -f "$dir/build.ninja" ]; then
    if [ "$(cat "$dir/options.txt" 2>/dev/null)" = "$options" ]; then return 0; fi
    verb=(--reconfigure)
  elif [ -e "$dir" ]; then
    verb=(--wipe)  # a configuration that failed half way
    [ -f "$dir/meson-private/coredata.dat" ] || verb=()
  fi
  # A fast linker, where there is one; $CXX_LD decides where it is set.
  if [ -z "${CXX_LD:-}" ]; then
    if command -v mold >/dev/null; then export CXX_LD=mold
    elif command -v ld.lld >/dev/null; then export CXX_LD=lld
    fi
  fi
  logged "$dir.configure.log" "configuring $dir" meson setup "${verb[@]}" "$@" "$dir" "$root"
  printf '%s\n' "$options" >"$dir/options.txt"
}
