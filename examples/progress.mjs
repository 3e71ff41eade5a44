// Progress of an example on standard error, in place on a terminal, else in lines; results go to standard output. Neither is
// silent for two seconds.

const EVERY_MS = 1900;
const FRAME_MS = 200;

/** @param stream  as `process.stderr` */
export function showProgress(stream) {
  const start = performance.now();
  let what = 'opening';
  const show = () => {
    const line = `${what.trimEnd()}, ${Math.round((performance.now() - start) / 1000)} s`;
    stream.write(stream.isTTY ? `\r\u001b[K${line.slice(0, stream.columns - 1)}` : `${line}\n`);
  };
  const clear = () => stream.isTTY && stream.write('\r\u001b[K');
  show();
  const timer = setInterval(show, stream.isTTY ? FRAME_MS : EVERY_MS);
  return {
    /** What is being done from now on. */
    at(text) {
      what = text;
    },
    /** Lines that stay. */
    print(text) {
      clear();
      console.log(text);
    },
    close() {
      clearInterval(timer);
      clear();
    },
  };
}
