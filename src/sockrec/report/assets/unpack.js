// Opens the columns of numbers that the page embeds; `packing.py` is the other side.

async function unpack(text, listed) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const opened = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(opened).arrayBuffer());
  const columns = {};
  let start = 0;
  for (const { name, length, delta } of listed) {
    const column = new Uint32Array(length);
    for (let plane = 0; plane < 4; plane++) {
      const from = start + plane * length;
      for (let place = 0; place < length; place++) column[place] |= bytes[from + place] << (8 * plane);
    }
    if (delta) {
      let sum = 0;
      for (let place = 0; place < length; place++) {
        const one = column[place];
        sum = (sum + ((one >>> 1) ^ -(one & 1))) | 0;
        column[place] = sum;
      }
    }
    columns[name] = column;
    start += 4 * length;
  }
  return columns;
}
