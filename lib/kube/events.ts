/** Events about objects, for `kubectl describe`. */
import { truncateUtf8 } from "../truncate_utf8.ts";
import type { Log } from "../log.ts";
import { messageOf } from "../message_of.ts";
import type { KubeClient } from "./client.ts";
import { isConflict } from "./errors.ts";
import { type KubeObject, microTimeNow } from "./objects.ts";
import { apiVersionOf, events, type Resource } from "./resources.ts";

/** What is reported of an object. */
export interface EventText {
  readonly type: "Normal" | "Warning";
  /** The reason in CamelCase. */
  readonly reason: string;
  readonly action: string;
  readonly note: string;
}

/** The API server counts bytes of UTF-8. */
const maxNoteBytes = 1_024;

/**
 * Reports events, each once: an Event's name is a digest of what it says, so that a restarted program
 * finds its own again.
 */
export class EventRecorder {
  readonly #client: KubeClient;
  readonly #controller: string;
  readonly #instance: string;
  readonly #log: Log;

  constructor(
    options: { client: KubeClient; controller: string; instance: string; log: Log },
  ) {
    this.#client = options.client;
    this.#controller = options.controller;
    this.#instance = options.instance;
    this.#log = options.log;
  }

  /** Reports an event about an object, or logs why it can't. */
  async report(resource: Resource, object: KubeObject, text: EventText): Promise<void> {
    const { name, namespace = "default", uid = "", resourceVersion } = object.metadata;
    const note = truncateUtf8(text.note, maxNoteBytes);
    const digest = await digestOf([uid, text.type, text.reason, text.action, note].join("\0"));
    try {
      await this.#client.create(events, {
        metadata: { name: `${name.slice(0, 200)}.${digest}`, namespace },
        ...{ type: text.type, reason: text.reason, action: text.action, note },
        eventTime: microTimeNow(),
        reportingController: this.#controller,
        reportingInstance: this.#instance.slice(0, 128),
        regarding: {
          ...{ apiVersion: apiVersionOf(resource), kind: resource.kind, name, uid },
          ...object.metadata.namespace !== undefined && { namespace },
          ...resourceVersion !== undefined && { resourceVersion },
        },
      });
    } catch (error) {
      if (isConflict(error)) return;
      this.#log.debug("Could not write an Event", { object: name, error: messageOf(error) });
    }
  }
}

async function digestOf(text: string): Promise<string> {
  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return [...new Uint8Array(bytes).slice(0, 8)].map((byte) => byte.toString(16).padStart(2, "0"))
    .join("");
}
