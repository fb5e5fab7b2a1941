/**
 * Standard output and standard error without waiting for whoever reads them. Under Deno 2.9.6 every
 * write of Node's modules to a full pipe stops the event loop, `fs.write` and `process.stdout.write`
 * too; Deno's own asynchronous write waits in another thread.
 */

/** Writes some of the bytes. @returns how many; rejects with the system's error. */
export type WriteSome = (bytes: Uint8Array) => Promise<number>;

/** Writes to standard error. */
export const writeToStandardError: WriteSome = (bytes) => Deno.stderr.write(bytes);

/** Writes to standard output. */
export const writeToStandardOutput: WriteSome = (bytes) => Deno.stdout.write(bytes);
