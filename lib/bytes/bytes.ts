/**
 * Small pieces of memory, cheaply.
 *
 * Each `new Uint8Array` has memory of its own that the garbage collector must track and free: at
 * tens of thousands of requests a second that is a good part of all work. Small arrays are cut from
 * a slab instead, which is freed when the last of them is.
 */

const slabBytes = 64 * 1024;
/** Larger arrays get memory of their own: they would use up a slab, or keep one alive for long. */
const maxSliceBytes = 16 * 1024;

let slab = new Uint8Array(slabBytes);
let used = 0;

/** An array whose content is not defined; the caller writes all of it. */
export function allocate(length: number): Uint8Array {
  if (length > maxSliceBytes) return new Uint8Array(length);
  if (length > slabBytes - used) {
    slab = new Uint8Array(slabBytes);
    used = 0;
  }
  const bytes = slab.subarray(used, used + length);
  used += length;
  return bytes;
}

/**
 * A callback that frees an array's memory at once, ahead of the garbage collector. After the call the
 * array must not be used. Undefined for small arrays and for parts of larger ones.
 */
export function freeCallback(bytes: Uint8Array): (() => void) | undefined {
  if (bytes.length <= maxSliceBytes || bytes.length < bytes.buffer.byteLength) return undefined;
  return () => void (bytes.buffer as ArrayBuffer).transfer(0);
}

/** Joins two pieces into one, so that they leave in one write; an empty one costs nothing. */
export function concat(first: Uint8Array, second: Uint8Array): Uint8Array {
  if (first.length === 0) return second;
  if (second.length === 0) return first;
  const joined = allocate(first.length + second.length);
  joined.set(first);
  joined.set(second, first.length);
  return joined;
}

/** No bytes at all. */
export const noBytes: Uint8Array = new Uint8Array(0);

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** A string of code units up to 0xff as bytes, one each (ISO-8859-1). */
export function encodeLatin1(text: string): Uint8Array {
  const bytes = allocate(text.length);
  const { read, written } = encoder.encodeInto(text, bytes);
  // One byte for each unit and all of them read: everything was ASCII.
  if (read === text.length && written === text.length) return bytes;
  for (let index = 0; index < text.length; index++) bytes[index] = text.charCodeAt(index);
  return bytes;
}

/** Bytes of which none is over 0x7f as a string. */
export function decodeAscii(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

/** `String.fromCharCode` takes its bytes as arguments, of which an engine allows only so many. */
const decodeSliceBytes = 8 * 1024;

/** Bytes as a string of code units up to 0xff, one each; `TextDecoder` has no such encoding. */
export function decodeLatin1(bytes: Uint8Array): string {
  // As UTF-8, which is fast: if each byte became one unit, all were ASCII or became U+FFFD.
  const ascii = decoder.decode(bytes);
  if (ascii.length === bytes.length && !ascii.includes("\ufffd")) return ascii;
  let text = "";
  for (let at = 0; at < bytes.length; at += decodeSliceBytes) {
    text += String.fromCharCode(...bytes.subarray(at, at + decodeSliceBytes));
  }
  return text;
}
