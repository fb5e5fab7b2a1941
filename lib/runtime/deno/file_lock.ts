/** Locks between processes that end with the process that holds them, however it ends. */

/** Makes the file if it is not there, and locks it. @returns what unlocks it; undefined if another has it */
export async function tryLockFile(path: string): Promise<(() => void) | undefined> {
  const file = await Deno.open(path, { create: true, write: true, mode: 0o600 });
  let isLocked = false;
  try {
    isLocked = await file.tryLock(true);
  } finally {
    if (!isLocked) file.close();
  }
  // The file stays: whoever waits for it has it open, and must not wait for one that has no name.
  return isLocked ? () => file.close() : undefined;
}
