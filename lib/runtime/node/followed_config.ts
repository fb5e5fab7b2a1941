/** A part of the configuration that is taken again whenever its files have changed. */
import type { FileText } from "../../config/files.ts";
import type { TextRules } from "../../config/text_file.ts";
import type { Log } from "../../log.ts";
import { WatchedFiles } from "./watched_files.ts";

/** What is followed, and what is done with it. */
export interface FollowedConfig<Source extends string> {
  /** Names it in the log and as the metrics' label. */
  readonly source: Source;
  /** Files, and directories whose files are meant. */
  readonly paths: readonly string[];
  /** Which files of a directory count, by name. Without it each path must be a file. */
  readonly accepts?: (name: string) => boolean;
  /** How the files are read; unless given, they must be UTF-8. */
  readonly text?: TextRules;
  /** What is in use already. */
  readonly known: readonly FileText[];
  /**
   * Puts new content in use, all of it or nothing.
   *
   * @returns what the log line says about it
   * @throws what is wrong with it, in one line without a secret; what was in use must still be then
   */
  readonly apply: (files: readonly FileText[]) => Promise<object>;
  readonly metrics: ConfigMetrics<Source>;
  readonly log: Log;
}

/** Where reloads are counted. */
export interface ConfigMetrics<Source extends string> {
  configLoaded(source: Source): void;
  /** @param reason why it was refused */
  configReloaded(source: Source, result: "applied" | "refused", reason?: string): void;
}

/**
 * Follows files until what it returns is closed. Each change is one log line and one count: applied,
 * or refused, which leaves in use what was.
 */
export function followConfig<Source extends string>(
  { source, paths, accepts, text, known, apply, metrics, log }: FollowedConfig<Source>,
): WatchedFiles {
  metrics.configLoaded(source);
  return new WatchedFiles({
    paths,
    ...accepts && { accepts },
    ...text && { text },
    known,
    async changed(files) {
      const about = await apply(files);
      metrics.configReloaded(source, "applied");
      log.info("Configuration reloaded", { source, ...about });
    },
    failed({ message }) {
      metrics.configReloaded(source, "refused", message);
      log.error("Refused a changed configuration; the previous one stays in use", {
        source,
        reason: message,
      });
    },
  });
}
