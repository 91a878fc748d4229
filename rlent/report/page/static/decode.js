// Data blocks of this file: base64 of gzip in elements that no browser runs. They are unpacked when asked for.

const ARRAYS = {
  u1: Uint8Array,
  u2: Uint16Array,
  u4: Uint32Array,
  i4: Int32Array,
  f4: Float32Array,
  f8: Float64Array,
};

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

function unpacked(name) {
  const zipped = new Blob([bytesOf(document.getElementById(name).textContent)]);
  return new Response(zipped.stream().pipeThrough(new DecompressionStream("gzip")));
}

const readJson = (name) => unpacked(name).json();

async function readColumns(name) {
  const buffer = await unpacked(name).arrayBuffer();
  const headSize = new DataView(buffer).getUint32(0, true);
  const directory = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, headSize)));
  const body = 4 + headSize;
  const array = ({ type, at, size }) => new ARRAYS[type](buffer, body + at, size);
  return Object.fromEntries(directory.map((entry) => [entry.name, array(entry)]));
}

/** Reads chunks of tokens, and keeps the `most` that were asked for last. */
function chunkStore(most) {
  const kept = new Map();
  return (number) => {
    const chunk = kept.get(number) ?? readColumns(`chunk-${number}`);
    kept.delete(number);
    kept.set(number, chunk);
    if (kept.size > most) kept.delete(kept.keys().next().value);
    return chunk;
  };
}
