#!/usr/bin/env bash
# Makes the environment if it is not there, then runs the notebooks in order, or what else is asked for. See --help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
  cat <<'TEXT'
usage: ./run_all.sh [command] [options]

commands
  (none)         the five notebooks, in order, into results/<run>/; run again, it goes on where it stopped
  animate WHAT   a sound, a folder of sounds or a text, by a finished run's model: motion to take away
  preference     a page on which people compare two models, or the table of what they answered (preference --help)
  setup          the environment alone
  test           the tests, the five notebooks at preset smoke among them
  lab            JupyterLab on the notebooks

options of the run
  --preset NAME               smoke|demo|study|paper: how large (default: demo)
  --run NAME                  folder under results/ (default: the preset's name, behind the corpus's where that has --data)
  --corpus NAME               embedded (default)|facekit|vocaset|biwi, or a file of facts (.json) of a corpus of your own
  --data DIR                  the corpus's scans, as their owners distribute them or as FaceFormer's users prepare them
  --strict                    a sequence that cannot be used stops everything; else it is set aside and listed
  --predictions [NAME=]DIR    score other people's predictions, <sequence>_condition_<subject>.npy; repeatable
  --dry-run                   a step of each training at full size, on data of the right shapes: memory and time it would take
  --seeds 0,1,2               seeds of the joint training (default: 0)
  --device cpu|cuda|auto      where to train (default: auto)
  --speech FILE               animate this recording with the trained models: an MP4 with sound
  --set KEY=VALUE             change one setting, as joint.epochs=30; repeatable
  --help

options of animate
  --run NAME                  a finished run (default: demo)
  --model NAME                of that run (default: faceformer-guided-s0)
  --subject NAME              whose face (default: the first test subject)
  --style NAME                whose way of speaking (default: the first training subject's), or a mixture, Ada=0.3,Ben=0.7
  --formats LIST              of npy (vertices), mp4 (clip with sound), glb (glTF 2.0), arkit (weights of ARKit's 52 blendshapes),
                              obj (a file a frame); default: npy,mp4,glb
  --face DIR                  a checkout of ICT-FaceKit, whose shapes arkit needs; a facekit run has its own
  --out DIR                   (default: results/<run>/speech)
  --device cpu|cuda|auto

environment
  AVLIB_PYTHON=/path/python   use this Python as it is, with the packages it has
  AVLIB_WORKERS=N             trainings and evaluations at a time (default: as many as there are cores, or GPUs)
TEXT
}

fail() { printf 'run_all.sh: %s\n' "$*" >&2; exit 1; }

find_python() {
  local candidate
  for candidate in python3.12 python3.11 python3; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  fail "needs Python 3.11 or 3.12 on the PATH, found $(python3 --version 2>&1 || echo none)"
}

# The environment is made once for each state of the files that define it; a mark inside it says for which.
setup() {
  if [ -n "${AVLIB_PYTHON:-}" ]; then
    command -v "$AVLIB_PYTHON" >/dev/null || fail "AVLIB_PYTHON: no such program: $AVLIB_PYTHON"
    python=$AVLIB_PYTHON
    return
  fi
  local state conda home
  state=$(cat pyproject.toml constraints.txt environment.yml | cksum)
  conda=$(command -v mamba || command -v conda || true)
  home=$PWD/.venv
  [ -z "$conda" ] || home=$PWD/.conda
  python=$home/bin/python
  if [ -f "$home/.ready" ] && [ "$(cat "$home/.ready")" = "$state" ]; then return; fi
  echo "environment: makes $home (about 5 GB)"
  if [ -n "$conda" ]; then
    local file=environment.yml
    if [ "$(uname -m)" != x86_64 ]; then    # conda-forge has PyTorch3D for nothing else, and nothing here depends on it
      file=.environment.yml
      grep -v pytorch3d environment.yml >"$file"
    fi
    "$conda" env create --yes --quiet --prefix "$home" --file "$file"
    "$python" -m pip install --quiet --no-deps --editable .
  else
    local base
    base=$(find_python)
    rm -rf "$home"
    "$base" -m venv "$home" || fail "$base has no venv module (Debian and Ubuntu: apt install python3-venv)"
    if command -v uv >/dev/null; then
      uv pip install --quiet --compile-bytecode --python "$python" --constraint constraints.txt --editable '.[test]'
    else
      # pip compiles with one core; a file that this Python cannot compile is none that it will import
      "$python" -m pip install --quiet --disable-pip-version-check --no-compile \
        --constraint constraints.txt --editable '.[test]'
      "$python" -m compileall -q -j 0 "$home/lib" >/dev/null || true
    fi
  fi
  printf '%s' "$state" >"$home/.ready"
}

command=run
case "${1:-}" in
  animate|preference|setup|test|lab) command=$1; shift ;;
  -h|--help|help) usage; exit 0 ;;
  ''|-*) ;;
  *) fail "unknown command '$1'; see --help" ;;
esac
for option in "$@"; do
  if [ "$command" != preference ] && { [ "$option" = --help ] || [ "$option" = -h ]; }; then usage; exit 0; fi
done

setup
export PYTHONUNBUFFERED=1
# Threads that wait for each other sleep after some microseconds of spinning, not milliseconds (docs/reading.md)
export GOMP_SPINCOUNT="${GOMP_SPINCOUNT:-30000}"
case "$command" in
  setup) echo "environment: ready, $("$python" --version)" ;;
  test) exec "$python" -m pytest "$@" ;;
  lab) exec "$python" -m jupyterlab --notebook-dir=notebooks "$@" ;;
  animate|preference) exec "$python" -m avlib "$command" "$@" ;;
  run) exec "$python" -m avlib "$@" ;;
esac
