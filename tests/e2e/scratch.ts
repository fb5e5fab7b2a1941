/** Objects and files that a test leaves in the cluster or on disk, and what takes them away. */
import { createHash, randomBytes } from "node:crypto";
import type { KubeClient } from "./kube_client.ts";

/** A name for an object of one test; tests may run beside each other on one cluster. */
export function scratchName(): string {
  return `e2e-${randomBytes(4).toString("hex")}`;
}

/** Deletes an object when the test ends, if it is there then. */
export function deleteAtEnd(
  stack: AsyncDisposableStack,
  client: KubeClient,
  kind: string,
  name: string,
): void {
  stack.defer(async () => {
    await client.output(["delete", kind, name, "--ignore-not-found", "--wait=false"]);
  });
}

/** A folder that goes away when the test ends. */
export async function scratchFolder(stack: AsyncDisposableStack): Promise<string> {
  const folder = await Deno.makeTempDir({ prefix: "culvert-e2e-" });
  stack.defer(() => Deno.remove(folder, { recursive: true }));
  return folder;
}

/** SHA-256 in hexadecimal. */
export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
