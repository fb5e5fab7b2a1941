/** Agents' sessions in other processes of this relay, for those who watch at this one. */
import type { AdminEvent, EventLog } from "./event_log.ts";

/** A session as watches show it. */
export type AgentObject = AdminEvent["object"];

/** Keeps them by the process that has them, and writes down how they come and go. */
export class OtherAgents {
  readonly #log: EventLog;
  readonly #byProcess = new Map<number, Map<unknown, AgentObject>>();

  constructor(log: EventLog) {
    this.#log = log;
  }

  /** All of them. */
  get all(): AgentObject[] {
    return [...this.#byProcess.values()].flatMap((agents) => [...agents.values()]);
  }

  /** A process tells what has happened there. */
  changed(process: number, event: AdminEvent): void {
    const agents = this.#of(process);
    const { id } = event.object;
    if (event.type === "DELETED") {
      if (agents.delete(id)) this.#log.add(event);
      return;
    }
    agents.set(id, event.object);
    this.#log.add(event);
  }

  /** A process has these now: all it has after one of the two has been started, or none after its end. */
  replace(process: number, now: readonly AgentObject[]): void {
    const known = this.#of(process);
    const ids = new Set(now.map(({ id }) => id));
    for (const [id, object] of [...known]) {
      if (!ids.has(id)) this.changed(process, { type: "DELETED", kind: "agents", object });
    }
    for (const object of now) {
      if (!known.has(object["id"])) {
        this.changed(process, { type: "ADDED", kind: "agents", object });
      }
    }
  }

  #of(process: number): Map<unknown, AgentObject> {
    const known = this.#byProcess.get(process) ?? new Map<unknown, AgentObject>();
    this.#byProcess.set(process, known);
    return known;
  }
}
