/** What a new list of services changed, for the log. */
import type { Service } from "../../domain/service.ts";

/** Counts, by the names of a log line's fields. */
export interface ServiceChanges {
  readonly services: number;
  readonly added: number;
  readonly removed: number;
  readonly changed: number;
}

/** Compares services by their names. */
export function changesOf(before: readonly Service[], after: readonly Service[]): ServiceChanges {
  const old = new Map(before.map((service) => [service.name, JSON.stringify(service)]));
  const names = new Set(after.map(({ name }) => name));
  const known = after.filter(({ name }) => old.has(name));
  return {
    services: after.length,
    added: after.length - known.length,
    removed: before.filter(({ name }) => !names.has(name)).length,
    changed: known.filter((service) => old.get(service.name) !== JSON.stringify(service)).length,
  };
}
