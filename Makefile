# make demo · make test · make fuzz · make bench · make gpu-check · make gpu-bench · make gpu-study · make docs · make lint · make format
#
# Each makes its own .venv first and needs only Python, pip and make; PYTHON=... names another interpreter to make it with.
# On a machine without a GPU, PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu saves a large download.

# The gpu-… commands take a PYTHON that was named as it is, and install nothing. BUDGET=... is the seconds they may take.
ifeq ($(origin PYTHON),undefined)
GPU_PYTHON = .venv/bin/python
GPU_NEEDS = $(INSTALLED)
endif
PYTHON ?= python3
SECONDS ?= 60
GPU_PYTHON ?= $(PYTHON)
OUT ?= runs/gpu

# The newest CUDA that the driver runs; empty without a driver.
DRIVER_CUDA := $(shell nvidia-smi 2>/dev/null | grep -oE 'CUDA[A-Z ]* Version *: *[0-9]+' | grep -oE '[0-9]+$$' | head -n 1)
EXTRA := $(if $(filter-out 1 2 3 4 5 6 7 8 9 10 11 12,$(DRIVER_CUDA)),cu13,cu12)
# PyPI's torch is built for CUDA 13; a CUDA 12 driver needs the other build.
TORCH_INDEX := $(if $(filter cu12,$(EXTRA)),$(if $(DRIVER_CUDA),--extra-index-url https://download.pytorch.org/whl/cu126))

BENCH_DEVICE := $(if $(DRIVER_CUDA),cuda,cpu)

BIN := .venv/bin
INSTALLED := .venv/installed-$(EXTRA)
INSTALLED_BENCH := .venv/installed-bench-$(EXTRA)
INSTALLED_TEST := .venv/installed-test-$(EXTRA)
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(TORCH_INDEX)
CUDA_TEXT = kernels/*.cu kernels/*.cuh tests/cuda_on_cpu/*.hpp

.PHONY: demo test fuzz bench gpu-check gpu-bench gpu-study docs lint format

demo: $(INSTALLED)
	@rm -rf runs/demo
	@$(BIN)/python -m dali_cr phantom runs/demo/data
	@$(BIN)/python -m train.pretrain --out runs/demo/run \
		--data runs/demo/data/images "$$($(BIN)/python -c 'import nibabel; print(nibabel.__path__[0] + "/tests/data")')" \
		--pattern "*.nii.gz" anatomical.nii reoriented_anat_moved.nii --exclude standard.nii.gz example_nifti2.nii.gz \
		--fourth-axis cases --crop 24 32 32 --iterations 20 --patch 4 8 --batch-size 4 --filters 8 --steps 400 --lr 3e-3

# Many processes import the same modules, so their bytecode is kept.
test: $(INSTALLED_TEST)
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not gpu"

# The property tests and damaged files on random input, for SECONDS; what is found is kept beside the tests.
fuzz: $(INSTALLED_TEST)
	@$(BIN)/python -m tests.manual.explore --seconds $(SECONDS)

bench: $(INSTALLED_BENCH)
	@$(BIN)/python -m benchmarks.kernels --device $(BENCH_DEVICE)
	@$(BIN)/python -m benchmarks.loader --device $(BENCH_DEVICE) --workload a b c d e v
	@$(BIN)/python -m benchmarks.training --device $(BENCH_DEVICE) --packed
	@$(BIN)/python -m benchmarks.training --device $(BENCH_DEVICE) --packed --workload v
	@$(BIN)/python -m benchmarks.training --device $(BENCH_DEVICE) --workload e
	@$(BIN)/python -m benchmarks.training --device $(BENCH_DEVICE) --emulate 5
	@$(BIN)/python -m benchmarks.report

gpu-check gpu-bench gpu-study: $(GPU_NEEDS)
	@$(GPU_PYTHON) -m benchmarks.gpu $(@:gpu-%=%) --out "$(OUT)" $(if $(BUDGET),--budget $(BUDGET))

# The API reference, from the docstrings.
docs: $(INSTALLED)
	@$(PIP_INSTALL) -e ".[docs]"
	@$(BIN)/python -m docs.build runs/docs
	@echo runs/docs/index.html

lint: $(INSTALLED_BENCH)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/clang-format --dry-run --Werror $(CUDA_TEXT)

format: $(INSTALLED)
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format
	@$(BIN)/clang-format -i $(CUDA_TEXT)

$(INSTALLED): pyproject.toml constraints.txt
	@echo "installing into .venv with $(EXTRA): this takes a few minutes the first time"
	@test -e $@ || rm -rf .venv # half made, or made for the other CUDA
	@test -d .venv || $(PYTHON) -m venv .venv
	@$(PIP_INSTALL) -e ".[$(EXTRA),train,dev]"
	@touch $@

$(INSTALLED_BENCH): $(INSTALLED)
	@$(PIP_INSTALL) -e ".[bench]"
	@touch $@

# What the tests compare with: the loaders and the trainers of others, nnU-Net's networks, readers of other formats.
$(INSTALLED_TEST): $(INSTALLED_BENCH)
	@$(PIP_INSTALL) -e ".[formats,nnunet,integration]"
	@touch $@
