/** Takes a file for this process: the system lets go of it when the process ends, however it does. */

/**
 * Locks a file, which is made if it is not there.
 *
 * @returns how to let go of it; undefined when another process has it
 * @throws the system's error when it can't be opened
 */
export async function lockFile(path: string): Promise<(() => void) | undefined> {
  const file = await Deno.open(path, { read: true, write: true, create: true, mode: 0o600 });
  if (await file.tryLock(true)) return () => file.close();
  file.close();
  return undefined;
}
