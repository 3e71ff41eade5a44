// dist/worker.js whose threads fill the memory that V8 gives them as soon as they factorise anything.

import '../../dist/worker.js';

const { instantiate } = WebAssembly;
WebAssembly.instantiate = async (...args) => {
  const exports = { ...(await instantiate(...args)).exports };
  exports.dpotrf = () => {
    for (const held = []; ; ) held.push(new Array(1e5).fill(0.5));
  };
  return { exports };
};
