#!/usr/bin/env bash
# Sets up the environment if needed, then runs the notebooks in order, or the given command. See --help.
set -euo pipefail
export AVLIB_CALLER="$PWD"    # paths on the command line are relative to it
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
  cat <<'TEXT'
usage: ./run_all.sh [command] [options]

commands
  (none)         run the five notebooks in order; results go to results/<run>/. Interrupted runs resume when you rerun
                 the command.
  animate INPUT  animate a sound file, a folder of sound files or a text with a trained model, and export the motion;
                 a film, or a folder of films: export the motion of the face in it, without a model. What exists, begins
                 like a path or ends like a sound or film is one; --text=TEXT and --file=PATH say which it is
  preference     write a page on which people compare two models, or the table of their answers (preference --help)
  pool FOLDERS   write the tables of finished runs that trained other seeds, on one machine or several, together
                 (pool --help)
  score          score folders of predicted meshes against scans under every protocol, without a run (score --help)
  setup          set up the environment only
  test           run all tests, the notebooks at preset smoke among them: 15 min
                 with --quick, only those that need no training: 3 min
  lint           check the code with ruff and pyright
  lab            open the notebooks in JupyterLab

options of a run
  --preset NAME               size of the run: smoke, demo, study or paper (default: demo)
  --run NAME                  folder under results/ (default: the preset; with --data, <corpus>-<preset>)
  --corpus NAME               embedded (default), facekit, captured (films of talking people), vocaset, biwi, or a
                              specification file of your own (.json)
  --data DIR                  the corpus's films, or its scans as their owners distribute them or as FaceFormer's users
                              prepare them
  --strict                    stop at a sequence that cannot be used (default: exclude and list it)
  --predictions [NAME=]DIR    also evaluate predictions of another method, files <sequence>_condition_<subject>.npy;
                              repeatable
  --dry-run                   run one step of each training at full size on random data; print memory and time
  --seeds 0,1,2               seeds of the joint training (default: 0; of preset study: 0,1,2,3,4)
  --device cpu|cuda|auto      where to train (default: auto)
  --speech FILE               animate this recording with the trained models: MP4 files with sound
  --set KEY=VALUE             change one setting, for example joint.epochs=30; repeatable
  --help

options of animate (with any of the first four, the sound of films is animated)
  --run NAME                  a finished run (default: demo; before it has run, the model that comes with the kit)
  --model NAME                a model of that run (default: faceformer-guided-s0)
  --subject NAME              the face to animate (default: the first test subject)
  --style NAME                speaking style of a training subject (default: the first), or a mixture, Ada=0.3,Ben=0.7
  --formats LIST              npy (vertices), mp4 (clip with sound), glb (glTF 2.0), usd (OpenUSD), arkit (weights of
                              ARKit's 52 blendshapes), glb-arkit and usd-arkit (the face with these shapes), flame
                              (FLAME's parameters), obj (one file a frame); default: npy,mp4,glb
  --face DIR                  a checkout of ICT-FaceKit, which ARKit's shapes need (a run on its face uses its own), and
                              whose face a film moves (default: MediaPipe's mesh)
  --flame FILE                FLAME's generic_model.pkl or .npz, which flame needs
  --landmarks FILE            face_landmarker.task, for films (default: a *.task in the folder of the film or beside it)
  --out DIR                   output folder (default: results/<run>/speech; for the motion of films, results/films)
  --device cpu|cuda|auto

options of test
  --quick                     skip tests that run the notebooks or train for long
  other options go to pytest

environment variables
  AVLIB_PYTHON=/path/python   use this Python and its packages instead of setting up an environment
  AVLIB_WORKERS=N             trainings and evaluations that run in parallel (default: the number of cores or GPUs)
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
  fail "expected Python 3.11 or 3.12 on the PATH, got $(python3 --version 2>&1 || echo none)"
}

# Sets up the environment once for each state of the files that define it; a file inside it records that state.
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
  is_ready || wait_for_other_setup
  if ! is_ready; then
    echo "environment: setting up $home (about 5 GB)"
    create_environment
    printf '%s' "$state" >"$home/.ready"
  fi
  exec 9<&-    # lets others go on
  if reads_films "$@"; then add_extra video "MediaPipe, which finds faces in films"; fi
  if writes_usd "$@"; then add_extra usd "OpenUSD, which writes .usdc files"; fi
}

# Installs an extra once; a conda environment has all of them.
add_extra() {
  if [ -n "$conda" ] || [ -f "$home/.$1" ]; then return; fi
  echo "environment: adding $2"
  install ".[$1]"
  touch "$home/.$1"
}

# Two set-ups at a time would delete each other's files: the second waits until the first has ended, however it ends.
# macOS has no flock; there they have to be started one after the other.
wait_for_other_setup() {
  if command -v flock >/dev/null; then
    exec 9<pyproject.toml
    flock --nonblock 9 || { echo "environment: another run_all.sh is setting it up; waiting"; flock 9; }
  fi
}

is_ready() { [ -f "$home/.ready" ] && [ "$(cat "$home/.ready")" = "$state" ]; }

# Whether the arguments of run_all.sh ask for something that reads films: such a corpus, or a film or a folder of films to
# animate.
reads_films() (    # a subshell, which keeps the option of the shell to itself
  if [ "$command" = test ]; then exit 0; fi
  shopt -s nocasematch
  for argument in "$@"; do
    case "$argument" in captured|corpus.name=captured|corpus.video_corpus=?*) exit 0 ;; esac
    if [ "$command" != animate ]; then continue; fi
    for file in "$argument" "$argument"/*; do
      case "$file" in *.mp4|*.mov|*.mkv|*.avi|*.webm|*.mpg|*.mpeg|*.m4v|*.3gp) exit 0 ;; esac
    done
  done
  exit 1
)

# Whether the arguments of run_all.sh ask for a format of OpenUSD.
writes_usd() (
  if [ "$command" = test ]; then exit 0; fi
  if [ "$command" != animate ]; then exit 1; fi
  for argument in "$@"; do
    case ",${argument#--formats=}," in *,usd,*|*,usd-arkit,*) exit 0 ;; esac
  done
  exit 1
)

# Installs the package in place with an extra, at the pinned versions.
install() {
  if command -v uv >/dev/null; then
    uv pip install --quiet --compile-bytecode --python "$python" --constraint constraints.txt --editable "$1"
  else
    # pip compiles on one core, compileall on all; files that fail to compile are for other Python versions
    "$python" -m pip install --quiet --disable-pip-version-check --no-compile \
      --constraint constraints.txt --editable "$1"
    "$python" -m compileall -q -j 0 "$home/lib" >/dev/null || true
  fi
}

create_environment() {
  if [ -n "$conda" ]; then
    local file=environment.yml
    if [ "$(uname -m)" != x86_64 ]; then    # conda-forge has PyTorch3D, which is optional, for x86_64 only
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
    install '.[test]'
  fi
}

command=run
case "${1:-}" in
  animate|preference|pool|score|setup|test|lint|lab) command=$1; shift ;;
  -h|--help|help) usage; exit 0 ;;
  ''|-*) ;;
  *) fail "expected a command (animate, preference, pool, score, setup, test or lab) or an option, got '$1'; see --help" ;;
esac
for option in "$@"; do
  case "$command" in preference|pool|score) break ;; esac    # they have a --help of their own
  if [ "$option" = --help ] || [ "$option" = -h ]; then usage; exit 0; fi
done

setup "$@"
export PYTHONUNBUFFERED=1 PYTHONUTF8=1    # text files are UTF-8 whatever the locale
# Waiting OpenMP threads sleep after microseconds of spinning instead of milliseconds (docs/lipreading.md)
export GOMP_SPINCOUNT="${GOMP_SPINCOUNT:-30000}"
# glibc gives the pages of large blocks back as soon as they are freed, and each training step gets them anew: on large
# meshes that takes longer than the computation (docs/timings.md). With these settings it keeps them.
keep_memory() {
  export MALLOC_MMAP_MAX_="${MALLOC_MMAP_MAX_:-0}" MALLOC_TRIM_THRESHOLD_="${MALLOC_TRIM_THRESHOLD_:-68719476736}"
}
case "$command" in
  setup) echo "environment: ready, $("$python" --version)" ;;
  test)
    options=()
    for option in "$@"; do
      if [ "$option" = --quick ]; then options+=(-m 'not slow'); else options+=("$option"); fi
    done
    # Each process takes whole files, and one thread: most tests are too small for more.
    export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
    exec "$python" -m pytest -n auto --maxprocesses 8 --no-loadscope-reorder ${options[@]+"${options[@]}"} ;;
  lint)
    "$python" -m ruff check avlib tests benchmarks
    "$python" -m ruff format --check avlib tests benchmarks
    exec "$python" -m pyright --pythonpath "$(command -v "$python")" ;;
  lab) keep_memory; exec "$python" -m jupyterlab --notebook-dir=notebooks "$@" ;;
  animate|preference|pool|score) exec "$python" -m avlib "$command" "$@" ;;
  run) keep_memory; exec "$python" -m avlib "$@" ;;
esac
