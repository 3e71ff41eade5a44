// What the tests need of `node:fs`, in a page: it reads from the server, and waits.

export function readFileSync(url: URL): Uint8Array {
  const request = new XMLHttpRequest();
  request.open('GET', url, false);
  request.overrideMimeType('text/plain; charset=x-user-defined'); // bytes as they are
  request.send();
  if (request.status !== 200) throw new Error(`${url}: ${request.status}`);
  return Uint8Array.from(request.responseText, (character) => character.charCodeAt(0));
}
