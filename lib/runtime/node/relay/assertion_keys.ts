/** The keys that sign who callers are, taken again when their file changes. */
import { parseAssertionKeys } from "../../../config/assertion_keys.ts";
import type { RelayOptions } from "../../../config/relay_options.ts";
import type { Relay } from "../../../relay/relay.ts";
import { followConfig } from "../followed_config.ts";
import type { WatchedFiles } from "../watched_files.ts";

/** Takes over other keys when their file changes. */
export function followAssertionKeys(
  { assertionKeysFile: file }: RelayOptions,
  { assertions, metrics, log }: Relay,
): WatchedFiles[] {
  if (!file) return [];
  return [followConfig({
    source: "assertion_keys",
    paths: [file.path],
    known: [file],
    apply: async ([changed]) => {
      const keys = parseAssertionKeys(changed?.text ?? "", file.path);
      await assertions.replace(keys);
      return { keys: keys.length };
    },
    metrics,
    log,
  })];
}
