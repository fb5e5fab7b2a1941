/** The lists about callers, taken again when their files change. */
import type { CallerToken, CertificateRule, ClaimRule } from "../../domain/callers.ts";
import {
  readCallerCertificates,
  readCallerClaims,
  readCallerTokens,
} from "../../config/entries/callers.ts";
import type { CallerOptions } from "../../config/caller_options.ts";
import type { FileText } from "../../config/files.ts";
import type { Log } from "../../log.ts";
import { type ConfigMetrics, followConfig } from "./followed_config.ts";
import type { WatchedFiles } from "./watched_files.ts";

/** Takes new lists; the relay's `Callers` does. */
export interface CallerLists {
  replaceTokens(tokens: readonly CallerToken[]): Promise<void>;
  replaceCertificates(rules: readonly CertificateRule[]): void;
  replaceJwtRules(rules: readonly ClaimRule[]): void;
}

/** A list, the file that it came from, and how it is taken. */
interface CallerFile {
  readonly source: CallerSource;
  readonly file: FileText | undefined;
  /** @throws {ConfigError} for a text that is not valid; what is in use stays then. */
  readonly apply: (text: string, about: string) => Promise<void> | void;
}

/** The lists' names, in the log and as the metrics' label. */
export type CallerSource = "caller_tokens" | "caller_certificates" | "caller_jwt_rules";

/** Follows the files that the options name, until each of what it returns is closed. */
export function followCallerFiles(
  options: CallerOptions,
  lists: CallerLists,
  metrics: ConfigMetrics<CallerSource>,
  log: Log,
): WatchedFiles[] {
  const files: readonly CallerFile[] = [
    {
      source: "caller_tokens",
      file: options.tokensFile,
      async apply(text, path) {
        const { tokens, warnings } = readCallerTokens(text, `Caller tokens file ${path}`);
        await lists.replaceTokens(tokens);
        for (const warning of warnings) log.warn(warning);
      },
    },
    {
      source: "caller_certificates",
      file: options.certificatesFile,
      apply: (text, path) =>
        lists.replaceCertificates(readCallerCertificates(text, `Caller certificates file ${path}`)),
    },
    {
      source: "caller_jwt_rules",
      file: options.jwt?.rulesFile,
      apply: (text, path) =>
        lists.replaceJwtRules(readCallerClaims(text, `Caller JWT rules file ${path}`)),
    },
  ];
  return files.flatMap(({ source, file, apply }) => {
    if (!file) return [];
    return followConfig({
      source,
      paths: [file.path],
      known: [file],
      async apply([changed]) {
        await apply(changed?.text ?? "", JSON.stringify(file.path));
        return {};
      },
      metrics,
      log,
    });
  });
}
