// Keeps the page, so that it opens without a network. The build puts the names of its files in here.

/* global FILES, VERSION */
const CACHE = `osscar-${VERSION}`;

self.addEventListener('install', (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(FILES)));
});

self.addEventListener('activate', (event) => {
  const old = async () =>
    (await caches.keys()).filter((name) => name.startsWith('osscar-') && name !== CACHE);
  event.waitUntil(old().then((names) => Promise.all(names.map((name) => caches.delete(name)))));
});

// Files have their hashes in their names: what is kept is right.
self.addEventListener('fetch', (event) => {
  const { method, mode, url } = event.request;
  if (method !== 'GET' || new URL(url).origin !== location.origin) return;
  const kept = async () => {
    const cache = await caches.open(CACHE);
    const asked = mode === 'navigate' ? './index.html' : event.request;
    return (await cache.match(asked, { ignoreSearch: true })) ?? fetch(event.request);
  };
  event.respondWith(kept());
});
