/**
 * Standard streams without waiting for whoever is at their other end. Under Deno 2.9.6 every write of
 * Node's modules to a full pipe stops the event loop, `fs.write` and `process.stdout.write` too; Deno's
 * own asynchronous write waits in another thread.
 */

/** Writes some of the bytes. @returns how many; rejects with the system's error. */
export type WriteSome = (bytes: Uint8Array) => Promise<number>;

/** Writes to standard error. */
export const writeToStandardError: WriteSome = (bytes) => Deno.stderr.write(bytes);

/** The last write to standard output: what is written at the same time must not mix. */
let lastOutput: Promise<unknown> = Promise.resolve();

/** Writes all of the bytes to standard output, behind what is being written. */
export const writeToStandardOutput: WriteSome = (bytes) => {
  const written = lastOutput.then(async () => {
    for (let at = 0; at < bytes.length;) at += await Deno.stdout.write(bytes.subarray(at));
    return bytes.length;
  });
  lastOutput = written.catch(() => {});
  return written;
};

/** What comes on standard input, until its other end is closed. */
export function readStandardInput(): AsyncIterable<Uint8Array> {
  return Deno.stdin.readable;
}
