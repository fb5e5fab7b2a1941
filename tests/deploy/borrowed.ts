/**
 * Objects of fixed names that belong to no test's own namespace: what was not there before a test is
 * taken away after it.
 */
import type { KubeClient } from "../e2e/kube_client.ts";

/** For a namespace with all that is in it, or a kind with all its objects, to be gone. */
const goneTimeoutMs = 120_000;

/** Has `make` make an object if it is not there, and takes it away at the end if it was not. */
export async function borrow(
  stack: AsyncDisposableStack,
  client: KubeClient,
  [kind, name]: readonly [kind: string, name: string],
  make: () => Promise<unknown>,
): Promise<void> {
  const found = await client.output(["get", kind, name, "--ignore-not-found", "-o", "name"]);
  if (found === "") {
    stack.defer(async () => {
      const options = { timeoutMs: goneTimeoutMs };
      await client.output(["delete", kind, name, "--ignore-not-found", "--wait"], options);
    });
  }
  await make();
}

/** A namespace that is there until the end. */
export async function borrowNamespace(
  stack: AsyncDisposableStack,
  client: KubeClient,
  name: string,
): Promise<void> {
  await borrow(stack, client, ["namespace", name], async () => {
    const create = ["create", "namespace", name, "--dry-run=client", "-o", "json"];
    const stdin = await client.output(create);
    await client.output(["apply", "-f", "-"], { stdin });
  });
}
