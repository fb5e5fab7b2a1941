/** Names of this machine, for what looks Services' names up without a cluster's name server. */

const hostsFile = "/etc/hosts";

/**
 * Leads a name to 127.0.0.1 until it is disposed of. Tests that run at the same time may have the
 * same name: each has a line of its own.
 */
export async function withName(name: string): Promise<AsyncDisposable> {
  const line = `127.0.0.1 ${name} # ${crypto.randomUUID()}\n`;
  await edit((text) => text + line);
  return { [Symbol.asyncDispose]: () => edit((text) => text.replace(line, "")) };
}

/** Changes the file while no other test does. */
async function edit(change: (text: string) => string): Promise<void> {
  using file = await Deno.open(hostsFile, { read: true, write: true });
  await file.lock(true);
  const text = await Deno.readTextFile(hostsFile);
  await Deno.writeTextFile(hostsFile, change(text));
}
