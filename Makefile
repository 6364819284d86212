# ngx_llm: builds the NGINX module, the engine and the tools into build/.
# `make help` lists the targets. Variants: SAN=asan|tsan builds into build/SAN.

SHELL    := /bin/bash
CC       ?= gcc
SAN      ?=
BUILD    := build$(if $(SAN),/$(SAN))
PREFIX   ?= /usr/local
MODULES  ?= /usr/lib/nginx/modules
OPT      ?= -O2
WARN     := -Wall -Wextra -Wpointer-arith -Wshadow -Wstrict-prototypes \
            -Wmissing-prototypes -Wvla -Werror -Wno-unused-parameter
SANFLAGS_asan := -fsanitize=address,undefined -fno-omit-frame-pointer \
                 -fno-sanitize-recover=undefined
SANFLAGS_tsan := -fsanitize=thread -fno-omit-frame-pointer
SANFLAGS := $(SANFLAGS_$(SAN))
CFLAGS   := -std=gnu11 -g $(OPT) $(WARN) -fno-math-errno -ffp-contract=off \
            -pthread -D_GNU_SOURCE -I. $(SANFLAGS)
LDFLAGS  := -pthread $(SANFLAGS)
LDLIBS   := -ljansson -lpcre2-8 -lxxhash -lutf8proc -lm

# CUDA, where there is a toolkit: CUDA_HOME=dir picks one, CUDA_HOME=none none.
CUDA_DIR   := $(shell util/cuda-home)
CUDA_ARCHS ?= sm_80 sm_90a
CUDA_ENGINE ?= 1
NVCC       := $(CUDA_DIR)/bin/nvcc
NVFLAGS    := -std=c++17 -O3 -g -lineinfo -I. -Werror all-warnings \
              -Xcompiler -Wall,-Wextra,-Wno-unused-parameter \
              -Xptxas -v,-warn-spills --expt-relaxed-constexpr \
              $(foreach a,$(CUDA_ARCHS),-gencode arch=$(a:sm_%=compute_%),code=$(a))
EMUFLAGS   := -x c++ -std=gnu++17 -g $(OPT) -Wall -Wextra -Wno-unused-parameter \
              -Wno-unknown-pragmas -Werror -ffp-contract=off -pthread -I. \
              -isystem $(CUDA_DIR)/include -DCU_EMULATED -include t/cuda/emu.cuh \
              $(SANFLAGS)
CUDA_LIBS  := -L$(CUDA_DIR)/lib64 -lcudart_static -ldl -lrt -lstdc++

# Every room's sources; main.c and the programs in util/ have a main().
LIB_SRC  := $(sort $(filter-out engine/main.c, $(wildcard engine/*.c)) \
            $(wildcard engine/*/*.c engine/*/*/*.c kernels/*.c kernels/cpu/*.c kernels/null/*.c))
LIB_OBJ  := $(LIB_SRC:%.c=$(BUILD)/obj/%.o)
LIB      := $(BUILD)/libllm.a
UTIL_SRC := $(wildcard util/*.c)
UTIL_BIN := $(UTIL_SRC:util/%.c=$(BUILD)/llm-%)
TEST_SRC := $(filter-out t/cuda/%,$(wildcard t/*/*.c))

# The CUDA backend: for a GPU, or for the emulated device of the tests; or
# its absence.  blas_load.c is the one file that the two do not share.
CUDA_C   := $(filter-out %/absent.c %/blas_load.c,$(wildcard kernels/cuda/*.c))
CUDA_CU  := $(wildcard kernels/cuda/*.cu)
CUDA_OBJ := $(CUDA_C:%.c=$(BUILD)/obj/%.o) \
            $(BUILD)/obj/kernels/cuda/blas_load.o \
            $(CUDA_CU:%.cu=$(BUILD)/obj/gpu/%.o)
EMU_OBJ  := $(CUDA_C:%.c=$(BUILD)/obj/%.o) \
            $(CUDA_CU:%.cu=$(BUILD)/obj/emu/%.o) \
            $(patsubst %.cu,$(BUILD)/obj/emu/%.o,$(wildcard t/cuda/emu*.cu))
CUDA_TEST := $(filter-out t/cuda/emu%,$(wildcard t/cuda/*.c))
BACKENDS := $(BUILD)/obj/kernels/cuda/absent.o

ifneq ($(CUDA_DIR),)
ifeq ($(SAN)$(CUDA_ENGINE),1)
BACKENDS := $(BUILD)/libcuda.a
BACKEND_LIBS := $(CUDA_LIBS)
endif
TEST_SRC += $(CUDA_TEST)
EMULATED := $(BUILD)/emu/ngx-llm-engine $(BUILD)/emu/llm-bench
GPU_OBJ  := $(if $(SAN),,$(CUDA_OBJ))
endif

TEST_BIN := $(TEST_SRC:%.c=$(BUILD)/%)

.PHONY: all build engine module tests models run test test-asan test-tsan bench \
        gpu test-gpu goldens models-table install clean format format-check help
all: build

help:
	@echo 'make run           install what is missing, build, fetch the default'
	@echo '                   model, serve on http://127.0.0.1:8080'
	@echo '                   (PORT=, MODEL=file.gguf|folder, ENGINE_OPTIONS=)'
	@echo 'make test          install what the tests need, build, prove -r t'
	@echo 'make test-asan     the same under ASan and UBSan'
	@echo 'make test-tsan     the same of the engine under TSan'
	@echo 'make build         everything into build/'
	@echo 'make gpu           with libc and CUDA alone: build/gpu/llm-bench'
	@echo 'make test-gpu      the CUDA backend tested on a GPU'
	@echo 'make bench         figures beside llama.cpp: build/bench.json'
	@echo 'make install       PREFIX=/usr/local, DESTDIR='
	@echo 'make format-check  the style; make format mends it'
	@echo 'make models-table  the table of models in README.md, by tests and benches'
	@echo 'make goldens       expected values anew (torch and the like)'
	@echo 'make clean'
	@echo 'Variables: NGINX_SRC=dir builds into that NGINX, see util/build-module'

build: engine $(UTIL_BIN) module
engine: $(BUILD)/ngx-llm-engine
tests: $(TEST_BIN) $(EMULATED) $(GPU_OBJ)

# NGINX's own build rules make the module; it has its own dependencies.
module:
	@util/build-module

# Kernels take minutes to compile: for a GPU that is there only.
run:
	@util/deps build fetch
	@$(MAKE) --no-print-directory -j$(shell nproc) build \
	    CUDA_ENGINE=$(if $(wildcard /dev/nvidiactl),1,0)
	@util/run

# Tests that want the second model skip themselves where it is not.
models:
	@util/fetch-model smollm2-135m > /dev/null
	@util/fetch-model gemma3-270m > /dev/null || \
	    echo '== Gemma 3 270M cannot be fetched: its tests are skipped' >&2

test:
	@util/deps test
	@$(MAKE) --no-print-directory models
	@$(MAKE) --no-print-directory -j$(shell nproc) build tests
	prove -r t

test-asan:
	@util/deps test
	@$(MAKE) --no-print-directory models
	@$(MAKE) --no-print-directory -j$(shell nproc) module
	@$(MAKE) --no-print-directory -j$(shell nproc) SAN=asan engine tests
	@util/build-nginx-san
	SAN=asan LLM_BUILD=build/asan prove -r t

test-tsan:
	@util/deps test
	@$(MAKE) --no-print-directory models
	@$(MAKE) --no-print-directory -j$(shell nproc) module
	@$(MAKE) --no-print-directory -j$(shell nproc) SAN=tsan engine tests
	@cp build/ngx_http_llm_module.so build/tsan/
	SAN=tsan LLM_BUILD=build/tsan prove -r t

bench:
	@util/deps bench
	@$(MAKE) --no-print-directory -j$(shell nproc) build
	@util/bench

goldens:
	@util/deps goldens
	@util/goldens

# Speeds need LLAMA_BIN=folder with llama-bench and llama-quantize.
models-table:
	@util/deps build fetch goldens
	@$(MAKE) --no-print-directory -j$(shell nproc) build build/t/model/families \
	    build/t/model/hf build/t/chat/template build/t/text/ids
	@util/models-table

FORMATTED = $(shell git ls-files '*.c' '*.h')
FORMATTED_CU = $(shell git ls-files '*.cu' '*.cuh')
format:
	@clang-format -i $(FORMATTED)
	@clang-format -i --style=file:.clang-format-cu $(FORMATTED_CU)
format-check:
	@clang-format --dry-run -Werror $(FORMATTED)
	@clang-format --dry-run -Werror --style=file:.clang-format-cu $(FORMATTED_CU)

install: build
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/share/ngx-llm \
	    $(DESTDIR)$(MODULES)
	install -m 755 $(BUILD)/ngx-llm-engine $(DESTDIR)$(PREFIX)/sbin/
	install -m 644 $(BUILD)/ngx_http_llm_module.so $(DESTDIR)$(MODULES)/
	install -m 644 conf.d/*.conf README.md LICENSE \
	    $(DESTDIR)$(PREFIX)/share/ngx-llm/

# Instruction sets by file suffix: chosen at run time, see kernels/cpu.
$(BUILD)/obj/kernels/%_avx2.o: CFLAGS += -mavx2 -mfma -mf16c
$(BUILD)/obj/kernels/%_avx512.o: CFLAGS += -mavx512f -mavx512bw -mavx512vl \
    -mavx512dq -mavx512vnni -mfma -mf16c
$(BUILD)/obj/kernels/%_avx512bf16.o: CFLAGS += -mavx512f -mavx512bw \
    -mavx512vl -mavx512dq -mavx512vnni -mavx512bf16 -mfma -mf16c

# Vectors wider than the base CPU's, inside one file only: no ABI is touched.
$(BUILD)/obj/engine/model/quant_blocks.o $(BUILD)/obj/t/model/quant.o: \
    CFLAGS += -Wno-psabi

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

$(LIB): $(LIB_OBJ)
	@rm -f $@ && ar rcs $@ $^

# Of a GPU's kernels, with ptxas' report beside each; of the emulated device.
$(BUILD)/obj/gpu/%.o: %.cu
	@mkdir -p $(@D)
	@echo "  NVCC  $<"
	@$(NVCC) $(NVFLAGS) -MMD -MP -c -o $@ $< 2> $(@:.o=.ptxas) \
	    || { cat $(@:.o=.ptxas); rm -f $@; false; }

$(BUILD)/obj/emu/%.o: %.cu t/cuda/emu.cuh
	@mkdir -p $(@D)
	@echo "  EMU   $<"
	@$(CXX) $(EMUFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/obj/kernels/cuda/%.o $(BUILD)/obj/t/cuda/%.o: CFLAGS += -isystem $(CUDA_DIR)/include
$(BUILD)/libcuda.a: $(CUDA_OBJ)
	@rm -f $@ && ar rcs $@ $^

$(BUILD)/libemu.a: $(EMU_OBJ)
	@rm -f $@ && ar rcs $@ $^

# The library twice: backends use it, and are used by it.
$(BUILD)/ngx-llm-engine: $(BUILD)/obj/engine/main.o $(LIB) $(BACKENDS)
	@echo "  LD    $@"
	@$(CC) $(LDFLAGS) -o $@ $^ $(LIB) $(LDLIBS) $(BACKEND_LIBS)

# The same engine, and llm-bench, on the emulated device, for tests.
$(BUILD)/emu/ngx-llm-engine: $(BUILD)/obj/engine/main.o
$(BUILD)/emu/llm-bench: $(BUILD)/obj/util/bench.o
$(EMULATED): $(LIB) $(BUILD)/libemu.a
	@mkdir -p $(@D)
	@echo "  LD    $@"
	@$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIB) $(LDLIBS) -lstdc++

$(BUILD)/llm-maskbench: LDLIBS += -lz
$(BUILD)/llm-%: $(BUILD)/obj/util/%.o $(LIB) $(BACKENDS)
	@echo "  LD    $@"
	@$(CC) $(LDFLAGS) -o $@ $^ $(LIB) $(LDLIBS) $(BACKEND_LIBS)

$(BUILD)/t/cuda/%: $(BUILD)/obj/t/cuda/%.o $(LIB) $(BUILD)/libemu.a
	@mkdir -p $(@D)
	@echo "  LD    $@"
	@$(CC) $(LDFLAGS) -o $@ $^ $(LIB) $(LDLIBS) -lstdc++

$(BUILD)/t/%: $(BUILD)/obj/t/%.o $(LIB) $(BUILD)/obj/kernels/cuda/absent.o
	@mkdir -p $(@D)
	@echo "  LD    $@"
	@$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# For a machine with a GPU and nothing but libc and CUDA: the CUDA backend's
# tests on the real device, and llm-bench for synthetic models: build/gpu.
BARE     := build/gpu
BARE_SRC := engine/base.c $(wildcard engine/model/gguf*.c \
            engine/model/quant*.c) $(filter-out %/check.c,$(wildcard engine/sched/*.c)) \
            $(wildcard kernels/cpu/*.c) $(CUDA_C) kernels/cuda/blas_load.c \
            $(filter-out %/re_ecma_unicode.c,$(wildcard engine/grammar/gr.c \
            engine/grammar/gr_node.c engine/grammar/gr_parse*.c \
            engine/grammar/gr_rule.c engine/grammar/gr_state.c \
            engine/grammar/grammar*.c engine/grammar/mask_*.c \
            engine/grammar/re*.c engine/grammar/vocab_trie.c))
BARE_OBJ := $(BARE_SRC:%.c=$(BARE)/obj/%.o) $(CUDA_CU:%.cu=$(BUILD)/obj/gpu/%.o) \
            $(patsubst %.cu,$(BUILD)/obj/gpu/%.o,$(wildcard t/cuda/emu_probe*.cu))
BARE_BIN := $(CUDA_TEST:%.c=$(BARE)/%) $(BARE)/llm-bench

gpu: $(BARE_BIN)

test-gpu:
	@$(MAKE) --no-print-directory -j$(shell nproc) gpu
	@util/test-gpu $(BARE)

$(BARE)/obj/kernels/%_avx2.o: CFLAGS += -mavx2 -mfma -mf16c
$(BARE)/obj/kernels/%_avx512.o: CFLAGS += -mavx512f -mavx512bw -mavx512vl \
    -mavx512dq -mavx512vnni -mfma -mf16c
$(BARE)/obj/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(CFLAGS) -DLLM_BARE -isystem util/bare -isystem $(CUDA_DIR)/include \
	    -MMD -MP -c -o $@ $<

$(BARE)/libbare.a: $(BARE_OBJ)
	@rm -f $@ && ar rcs $@ $^

$(BARE)/llm-%: $(BARE)/obj/util/%.o $(BARE)/libbare.a
	@echo "  LD    $@"
	@$(CC) $(LDFLAGS) -o $@ $^ $(CUDA_LIBS) -lm

$(BARE)/t/cuda/%: $(BARE)/obj/t/cuda/%.o $(BARE)/libbare.a
	@mkdir -p $(@D)
	@echo "  LD    $@"
	@$(CC) $(LDFLAGS) -o $@ $^ $(CUDA_LIBS) -lm

clean:
	rm -rf build

-include $(shell find $(BUILD)/obj build/gpu/obj -name '*.d' 2>/dev/null)
.SECONDARY:
