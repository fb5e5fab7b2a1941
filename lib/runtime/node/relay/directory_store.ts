/** The store behind `--directory`, or the one that the workers of one relay share. */
import type { Store } from "../../../relay/directory/store.ts";
import type { RelaySetup } from "./setup.ts";

/** A connection to it, for one of its users. */
export async function openDirectoryStore({ directory, worker }: RelaySetup): Promise<Store> {
  const own = worker?.ownStore();
  if (own) return own;
  // A relay on its own does without the client.
  const { redisStore } = await import("../redis_store.ts");
  return redisStore(directory!.url);
}
