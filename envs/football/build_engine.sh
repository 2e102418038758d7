#!/usr/bin/env bash
# Builds the football engine (gfootball 2.10.2) from its source distribution and installs it.
#
#   envs/football/build_engine.sh [--stock] [--no-install] [PYTHON]
#
# PYTHON is the interpreter to install into (default: .venv/bin/python, else python3). The wheel is kept in
# ${TANDEM_CACHE:-~/.cache/tandem}/wheels, so the 4 to 7 minutes of compiling are spent once per machine and Python.
# The compiler flags make a step about a quarter faster than the stock build with bit-identical games; --stock builds
# with gfootball's own flags, for the benchmark. --no-install only builds and prints the wheel's path as the last line.
# A source distribution already on disk may be named in TANDEM_GFOOTBALL_SDIST.
set -euo pipefail

VERSION=2.10.2
SDIST_SHA256=1b0fdcfa78b7fadc3730585ee7f0f412ba825c27e422b2b85ea0cf7ba57800b6

say() { printf 'football engine: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

stock=no install=yes python=
for arg in "$@"; do
  case $arg in
    --stock) stock=yes ;;
    --no-install) install=no ;;
    -*) fail "option '$arg' does not exist; allowed: --stock, --no-install" ;;
    *) python=$arg ;;
  esac
done
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
if [ -z "$python" ]; then
  python=python3
  if [ -x "$here/.venv/bin/python" ]; then python=$here/.venv/bin/python; fi
fi
# Not resolved through symbolic links: a virtual environment's interpreter is one, and must stay itself.
command -v "$python" >/dev/null || fail "Python interpreter '$python' does not exist."
python=$(command -v "$python")

# --- what this machine can do ---------------------------------------------------------------------------------------
has_cpu_flags() {
  local flag
  for flag in "$@"; do grep -qm1 "^flags.*\b$flag\b" /proc/cpuinfo || return 1; done
}

compiles_with() { echo 'int main() {}' | c++ "$@" -x c++ -c -o /dev/null - 2>/dev/null; }

cpu_level() { # the highest x86-64 level that both the processor and the compiler know, else "base"
  [ "$(uname -m)" = x86_64 ] || { echo base; return; }
  if has_cpu_flags avx2 fma bmi1 bmi2 movbe f16c abm && compiles_with -march=x86-64-v3; then echo x86-64-v3
  elif has_cpu_flags sse4_2 ssse3 popcnt cx16 lahf_lm && compiles_with -march=x86-64-v2; then echo x86-64-v2
  else echo base; fi
}

python_facts() { # ABI tag, X.Y, shared library ("-" if none), include folder; one per line
  "$python" - <<'PY'
import os, sys, sysconfig
get = sysconfig.get_config_var
names = [os.path.join(folder, name) for folder in (get("LIBDIR"), os.path.join(get("LIBDIR") or "", get("MULTIARCH") or ""))
         for name in (get("LDLIBRARY"), get("INSTSONAME")) if folder and name and ".so" in name]
print(f"cp{sys.version_info[0]}{sys.version_info[1]}")
print(f"{sys.version_info[0]}.{sys.version_info[1]}")
print(next((name for name in names if os.path.exists(name)), "-"))
print(sysconfig.get_path("include"))
PY
}

mapfile -t facts < <(python_facts)
[ "${#facts[@]}" = 4 ] || fail "'$python' is no working Python interpreter."
abi=${facts[0]} libpython=${facts[2]} include=${facts[3]}

check_tools() {
  command -v c++ >/dev/null || fail "no C++ compiler found; install build-essential (\`make system\` does)."
  command -v cmake >/dev/null || fail "cmake not found; install cmake (\`make system\` does)."
  [ -f "$include/Python.h" ] || fail "Python.h of Python ${facts[1]} not found in $include; install python${facts[1]}-dev."
  [ "$libpython" != - ] || fail "$python has no shared libpython${facts[1]}.so, which the engine links to;" \
    "install libpython${facts[1]}-dev or use a Python built with --enable-shared."
  local name
  for name in "libboost_python${abi#cp}.so" "libboost_python3-py${abi#cp}.so"; do
    case $(c++ -print-file-name="$name") in /*) return ;; esac
  done
  fail "no libboost_python${abi#cp} for Python ${facts[1]}: install libboost-python-dev, or use the Python version" \
    "that this release's Boost was built for (Debian 12: 3.11, Ubuntu 24.04: 3.12)."
}

# --- the cache -------------------------------------------------------------------------------------------------------
if [ "$stock" = yes ]; then
  level=stock flags=
else
  level=$(cpu_level)
  # -ffp-contract=off: fused multiply-adds would round differently and the games would no longer match the stock build.
  flags="-DNDEBUG -ffp-contract=off -fno-semantic-interposition -flto=auto"
  if [ "$level" != base ]; then flags="$flags -march=$level"; fi
fi
release=$(. /etc/os-release 2>/dev/null && echo "${ID:-linux}${VERSION_ID:-}" || echo linux)
boost=$(sed -n 's/^#define BOOST_LIB_VERSION "\(.*\)"/\1/p' /usr/include/boost/version.hpp 2>/dev/null || true)
key=gfootball-$VERSION-$abi-$(uname -m)-$release-boost${boost:-unknown}-$level-$(printf %s "$flags" | sha256sum | cut -c1-8)
cache=${TANDEM_CACHE:-${HOME:-/root}/.cache/tandem}/wheels
wheel=$cache/$key/gfootball-$VERSION-$abi-$abi-linux_$(uname -m).whl

# --- the build -------------------------------------------------------------------------------------------------------
fetch_sdist() { # puts the verified source distribution into $work
  local sdist=$work/gfootball-$VERSION.tar.gz
  if [ -n "${TANDEM_GFOOTBALL_SDIST:-}" ]; then
    [ -f "$TANDEM_GFOOTBALL_SDIST" ] || fail "TANDEM_GFOOTBALL_SDIST names '$TANDEM_GFOOTBALL_SDIST', which does not exist."
    cp "$TANDEM_GFOOTBALL_SDIST" "$sdist"
  else
    "$build_python" -m pip download --quiet --no-deps --no-build-isolation --no-binary :all: --dest "$work" \
      "gfootball==$VERSION" >>"$log" 2>&1 ||
      fail "the source distribution of gfootball $VERSION could not be fetched; pip's words are in $log."
  fi
  echo "$SDIST_SHA256  $sdist" | sha256sum --check --status ||
    fail "$sdist is not the known source distribution of gfootball $VERSION (wrong checksum)."
  mkdir -p "$work/source" && tar xf "$sdist" -C "$work/source" --strip-components=1
}

compile() { # $work/source -> a wheel in $work/out
  # CMake would take the newest Python on the machine; name the one the wheel is for.
  sed -i "s|cmake \.|cmake . -DPython_LIBRARY='$libpython' -DPython_INCLUDE_DIR='$include'|" \
    "$work/source/gfootball/build_game_engine.sh"
  # gfootball's build asks `python3` for psutil; CMake 4 refuses its old minimum version without the second variable.
  (cd "$work/source" && PATH="$work/venv/bin:$PATH" CMAKE_POLICY_VERSION_MINIMUM=3.5 CXXFLAGS="$flags" \
    "$build_python" -m pip wheel --verbose --no-deps --no-build-isolation --wheel-dir "$work/out" .) >>"$log" 2>&1
}

watch_build() { # a line every 20 seconds until process $1 ends; returns its status
  local start=$SECONDS next=$((SECONDS + 20)) percent
  while kill -0 "$1" 2>/dev/null; do
    sleep 1
    [ "$SECONDS" -ge "$next" ] || continue
    next=$((next + 20))
    percent=$(grep -o '\[ *[0-9]*%\]' "$log" | tail -n 1 | tr -d '[] ' || true)
    if [ "$percent" = 100% ]; then percent="100%, linking"; fi
    say "compiling: ${percent:-0%}, $((SECONDS - start)) s so far"
  done
  wait "$1"
}

build() {
  check_tools
  mkdir -p "$cache" 2>/dev/null && [ -w "$cache" ] ||
    fail "the cache folder $cache cannot be written; name another in TANDEM_CACHE."
  log=$cache/$key.log
  : >"$log"
  work=$(mktemp -d "${TMPDIR:-/tmp}/tandem-engine.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  say "building the football engine, about 5 to 7 minutes, once (flags: ${flags:-stock}; log: $log)"
  build_python=$work/venv/bin/python3
  "$python" -m venv "$work/venv" >>"$log" 2>&1 || fail "$python cannot make a virtual environment; see $log."
  # setuptools 80 dropped the commands that gfootball's setup.py uses.
  "$build_python" -m pip install --quiet 'setuptools<80' wheel psutil six >>"$log" 2>&1 ||
    fail "the build tools (setuptools, wheel, psutil, six) could not be installed; see $log."
  fetch_sdist
  compile &
  watch_build $! || fail "the build failed; the compiler's words are at the end of $log."
  mkdir -p "$(dirname "$wheel")"
  # Renaming within one folder is atomic: nobody ever installs half a wheel.
  cp "$work"/out/gfootball-*.whl "$wheel.partial.$$" && mv "$wheel.partial.$$" "$wheel"
  say "built in $SECONDS s, kept as $wheel"
}

if [ -f "$wheel" ]; then say "using the wheel built before: $wheel"; else build; fi
if [ "$install" = no ]; then echo "$wheel"; exit; fi
# --no-deps: the metadata misses six and asks for a second OpenCV; the extra "football" brings what is needed.
"$python" -m pip install --quiet --no-deps --force-reinstall "$wheel"
"$python" -c 'import gfootball_engine' || fail "the engine is installed but cannot be imported; delete $wheel and run again."
say "installed ($level build)"
