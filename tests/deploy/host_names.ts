/** Names for pods on the host's network: this cluster has no name server. */

const hostsFile = "/etc/hosts";

/** A line of the host's names for as long as the test takes. */
export async function withName(line: string): Promise<AsyncDisposable> {
  await Deno.writeTextFile(hostsFile, line, { append: true });
  return {
    async [Symbol.asyncDispose]() {
      const text = await Deno.readTextFile(hostsFile);
      await Deno.writeTextFile(hostsFile, text.replace(line, ""));
    },
  };
}
