/* A plug-in host without JavaScript: loads osscar.wasm into WasmEdge and prunes one layer.
 *
 *   gcc -O2 -o host host.c -lwasmedge        (Debian: apt-get install gcc libwasmedge-dev)
 *   ./host osscar.wasm p m b keep XtX.f32 W.f32 > kept
 *
 * XtX.f32 is XᵀX, p × p, W.f32 the dense weights, p × m: raw little-endian float32, row-major. Prints the groups that
 * stay and, on standard error, the objective and the memory. The interpreter is enough for small layers; for speed
 * give the output of `wasmedge compile osscar.wasm osscar.so` in the place of the module. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wasmedge/wasmedge.h>

static WasmEdge_VMContext *vm;
static WasmEdge_MemoryInstanceContext *memory;

static void die(const char *what, const char *why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

static WasmEdge_Value call(const char *name, const WasmEdge_Value *arguments, uint32_t count) {
  WasmEdge_String function = WasmEdge_StringCreateByCString(name);
  WasmEdge_Value result;
  WasmEdge_Result done = WasmEdge_VMExecute(vm, function, arguments, count, &result, 1);
  WasmEdge_StringDelete(function);
  if (!WasmEdge_ResultOK(done)) die(name, WasmEdge_ResultGetMessage(done));
  return result;
}

#define I(x) WasmEdge_ValueGenI32((int32_t)(x))
#define D(x) WasmEdge_ValueGenF64(x)
#define CALL(name, ...) \
  call(name, (WasmEdge_Value[]){__VA_ARGS__}, sizeof((WasmEdge_Value[]){__VA_ARGS__}) / sizeof(WasmEdge_Value))
#define GET(name) call(name, NULL, 0)

/* Addresses in the module are unsigned; a view of its memory holds until the next call, which may grow it. */
static uint32_t address(WasmEdge_Value value) { return (uint32_t)WasmEdge_ValueGetI32(value); }

static void *view(uint32_t at, uint64_t bytes) {
  void *here = WasmEdge_MemoryInstanceGetPointer(memory, at, (uint32_t)bytes);
  if (bytes > 0 && here == NULL) die("view", "not in the module's memory");
  return here;
}

/* Ends with the module's own words where the last call has failed. */
static void check(void) {
  int32_t length = WasmEdge_ValueGetI32(GET("osscar_last_error_length"));
  if (WasmEdge_ValueGetI32(GET("osscar_last_status")) == 0) return;
  fprintf(stderr, "%.*s\n", length, (char *)view(address(GET("osscar_last_error")), (uint64_t)length));
  exit(1);
}

static uint32_t allocate(double bytes) {
  if (bytes > UINT32_MAX) die("allocate", "the layer needs more than 4 GiB");
  uint32_t at = address(CALL("osscar_alloc", I((uint32_t)bytes)));
  check();
  return at;
}

static float *read_floats(const char *path, size_t count) {
  float *data = malloc(4 * count);
  FILE *file = fopen(path, "rb");
  if (data == NULL || file == NULL) die(path, "cannot be read");
  if (fread(data, 4, count, file) != count || fgetc(file) != EOF) die(path, "not as many values as p and m say");
  fclose(file);
  return data;
}

static int32_t number(const char *text) {
  char *end;
  long value = strtol(text, &end, 10);
  if (*text == '\0' || *end != '\0' || value < 0 || value > 65536) die(text, "not a size");
  return (int32_t)value;
}

int main(int argc, char **argv) {
  if (argc != 8) die("usage", "host osscar.wasm p m b keep XtX.f32 W.f32");
  int32_t p = number(argv[2]), m = number(argv[3]), b = number(argv[4]), keep = number(argv[5]);

  WasmEdge_ConfigureContext *configuration = WasmEdge_ConfigureCreate();
  WasmEdge_ConfigureAddProposal(configuration, WasmEdge_Proposal_RelaxSIMD);
  vm = WasmEdge_VMCreate(configuration, NULL);
  WasmEdge_Result done = WasmEdge_VMLoadWasmFromFile(vm, argv[1]);
  if (WasmEdge_ResultOK(done)) done = WasmEdge_VMValidate(vm);
  if (WasmEdge_ResultOK(done)) done = WasmEdge_VMInstantiate(vm);
  if (!WasmEdge_ResultOK(done)) die(argv[1], WasmEdge_ResultGetMessage(done));
  WasmEdge_String name = WasmEdge_StringCreateByCString("memory");
  memory = WasmEdge_ModuleInstanceFindMemory(WasmEdge_VMGetActiveModule(vm), name);
  WasmEdge_StringDelete(name);
  if (memory == NULL || WasmEdge_ValueGetI32(GET("osscar_version")) != 1) die(argv[1], "not version 1 of the ABI");

  /* Statistics: n, rows with a target, Σx (zeros: no bias is refitted), XᵀX. */
  size_t pp = (size_t)p * (size_t)p, pm = (size_t)p * (size_t)m;
  double bytes = WasmEdge_ValueGetF64(CALL("osscar_statistics_bytes", I(p), I(0)));
  check();
  uint32_t statistics = allocate(bytes), W0 = allocate(4.0 * pm);
  float *XtX = read_floats(argv[6], pp), *W = read_floats(argv[7], pm);
  double *sums = view(statistics, (uint64_t)bytes);
  sums[0] = 1;
  for (size_t i = 0; i < pp; i++) sums[2 + p + i] = XtX[i];
  memcpy(view(W0, 4 * pm), W, 4 * pm);
  free(XtX);
  free(W);

  /* The layer's own output is the target (blend 0), damping as published. */
  uint32_t problem =
      address(CALL("osscar_problem", I(p), I(m), I(b), I(statistics), I(W0), I(0), D(1e-2), D(0)));
  check();
  CALL("osscar_free", I(statistics));
  CALL("osscar_free", I(W0));
  uint32_t kept = allocate(4.0 * keep), weights = allocate(8.0 * pm), report = allocate(64);
  CALL("osscar_prune", I(problem), I(keep), I(kept), I(weights), I(0), I(report));
  check();

  const int32_t *groups = view(kept, 4 * (uint64_t)keep);
  for (int32_t i = 0; i < keep; i++) printf("%d\n", groups[i]);
  fprintf(stderr, "objective %.17g, linear memory %u KiB\n", *(double *)view(report, 8),
          64 * WasmEdge_MemoryInstanceGetPageSize(memory));
  WasmEdge_VMDelete(vm);
  WasmEdge_ConfigureDelete(configuration);
  return 0;
}
