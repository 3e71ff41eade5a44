/** A map of characters as SentencePiece compiles it: a node's children lie in 256 units of their own. */
export function charsmapOf(entries: Readonly<Record<string, string>>): Uint8Array {
  const encoder = new TextEncoder();
  const replacements: number[] = [];
  const nodes = new Map([['', { at: 0, base: 256 }]]); // by the bytes that lead there
  const units = [0];
  const labels = new Map<number, number>();
  const values = new Map<number, number>();
  for (const [text, replacement] of Object.entries(entries)) {
    let path = '';
    for (const byte of encoder.encode(text)) {
      const { base } = nodes.get(path)!;
      path += `${byte},`;
      if (!nodes.has(path)) nodes.set(path, { at: base ^ byte, base: 256 * (nodes.size + 1) });
      labels.set(nodes.get(path)!.at, byte);
    }
    values.set(nodes.get(path)!.base, replacements.length);
    replacements.push(...encoder.encode(replacement), 0);
  }
  units.length = 256 * (nodes.size + 2);
  units.fill(0);
  for (const { at, base } of nodes.values()) {
    const ends = values.has(base) ? 0x100 : 0;
    units[at] = (((at ^ base) << 10) | ends | (labels.get(at) ?? 0)) >>> 0;
  }
  for (const [at, value] of values) units[at] = 0x8000_0000 + value;
  const trie = new Uint8Array(Uint32Array.from(units).buffer);
  const size = new Uint8Array(Uint32Array.of(trie.length).buffer);
  return Buffer.concat([size, trie, Uint8Array.from(replacements)]);
}
