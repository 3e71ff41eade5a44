// What is opened on the way is closed in the end.

/** Takes what is to be closed in the end. */
export type Opened = <T extends { close(): unknown }>(it: T) => T;

/** Closes what `run` has opened, the last first. */
export async function closing<R>(run: (opened: Opened) => Promise<R>): Promise<R> {
  const open: { close(): unknown }[] = [];
  try {
    return await run((it) => {
      open.push(it);
      return it;
    });
  } finally {
    for (const it of open.reverse()) await it.close();
  }
}
