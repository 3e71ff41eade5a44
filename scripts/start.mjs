// `npm start`: says how long it takes before anything else, makes a fresh clone ready, and runs the example.

console.log(
  'Prunes two vision networks and a language model by three methods: about a minute on two cores, and half a minute before it where it has to install and build.',
);
await import('./ready.mjs');
await import('../examples/compare.mjs');
