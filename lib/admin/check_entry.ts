/** Whether an entry goes with all others, those of the files and those of the API. */
import type { UsableEntries } from "../config/entries/api_entries.ts";
import { ConfigError } from "../config/config_error.ts";
import type { MoreServices } from "../config/entries/services.ts";
import { ApiError } from "./api_error.ts";
import { type ClusterIndex, indexed } from "./cluster_index.ts";
import type { Configuration } from "./configuration.ts";
import type { HeldEntry } from "./held_entry.ts";

/** What an entry is checked against. */
export interface CheckContext {
  readonly configuration: Configuration;
  /** The index of all clusters. */
  readonly index: ClusterIndex;
  /** The API's services and policies, with the entry among them if it is one. */
  readonly more: () => MoreServices;
}

/** @throws {ApiError} 409 for what another entry has, 422 for what is missing elsewhere */
export function checkEntry({ stored, usable }: HeldEntry, context: CheckContext): void {
  const { kind, name } = stored;
  if (context.configuration.has(kind, name)) throw configured(kind, name);
  try {
    if (kind === "clusters") checkCluster(usable as UsableEntries["clusters"], context);
    else context.configuration.checkServices(context.more());
  } catch (error) {
    throw error instanceof ConfigError ? asApiError(error) : error;
  }
}

/** @throws {ApiError} 409 when this relay can't have the address of a service's port */
export async function checkPort(
  { stored, usable }: HeldEntry,
  context: CheckContext,
): Promise<void> {
  if (stored.kind !== "services" || !(usable as UsableEntries["services"]).listen) return;
  try {
    await context.configuration.checkPort(stored.name, context.more());
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const message = error.message.replace(/^Service "[^"]*": /, "");
    throw new ApiError(409, "address_unavailable", message, { field: "listen" });
  }
}

/** The files' entries are theirs alone. */
export function configured(kind: string, name: string): ApiError {
  const message = `${kind.replace(/ies$/, "y").replace(/s$/, "")} ${JSON.stringify(name)} comes ` +
    "from the relay's configuration files; change it there";
  return new ApiError(409, "configured", message);
}

function checkCluster(cluster: UsableEntries["clusters"], context: CheckContext): void {
  const own = indexed(cluster);
  if (new Set(own.digests).size < own.digests.length) {
    throw new ApiError(422, "invalid", "tokens: has one token twice", { field: "tokens" });
  }
  const shared = context.index.conflict(own);
  if (shared) {
    // Whose it is may be none of the token's business.
    const what = shared.field === "hostnames"
      ? "another cluster's hostnames overlap these"
      : "another cluster has the same token";
    throw new ApiError(409, "taken", what, { field: shared.field });
  }
  const { claims, callerPolicy, impersonate, certificateNames } = cluster;
  if (!claims && callerPolicy === undefined && !impersonate && !certificateNames) return;
  context.configuration.checkCluster(cluster, context.more());
}

const keys = /: (policy|callerPolicy|hostnames|provider|audience|certificateName)\b/;

/** The message without what is for who writes the files, and without what others have. */
function asApiError({ message: text }: ConfigError): ApiError {
  const hostname = /have the same hostname ("[^"]*")/.exec(text)?.[1];
  if (hostname !== undefined) {
    const what = `the hostname ${hostname} is taken by another service`;
    return new ApiError(409, "taken", what, { field: "hostnames" });
  }
  const message = text.replace(
    /^(?:Admin API|Clusters)(?:, (?:policies: )?entry \d+ \("[^"]*"\))?: /,
    "",
  )
    .replace(/; there are .*$/, "");
  return new ApiError(422, "invalid", message, { field: keys.exec(text)?.[1] });
}
