// onnxruntime finds its files beside the script that holds it.
export const wasmPaths = undefined;
