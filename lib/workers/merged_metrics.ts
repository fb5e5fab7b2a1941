/** The metrics of several processes as one text: each sample says whose it is. */

/** One process's metrics in Prometheus' text format. */
export interface NamedMetrics {
  /** The value of the label `worker`. */
  readonly worker: string;
  readonly text: string;
}

interface Family {
  /** Its lines `# HELP` and `# TYPE`. */
  readonly head: string[];
  readonly samples: string[];
}

/** All samples, those of one name together as the format wants them, with a label `worker`. */
export function mergedMetrics(parts: readonly NamedMetrics[]): string {
  const families = new Map<string, Family>();
  for (const part of parts) addFamilies(families, part);
  let text = "";
  for (const { head, samples } of families.values()) {
    for (const line of head) text += line + "\n";
    for (const line of samples) text += line + "\n";
  }
  return text;
}

function addFamilies(families: Map<string, Family>, { worker, text }: NamedMetrics): void {
  let family: Family | undefined;
  let isKnown = false;
  let name: string | undefined;
  for (const line of text.split("\n")) {
    if (line === "") continue;
    const comment = /^# (?:HELP|TYPE) (\S+)/.exec(line);
    if (!line.startsWith("#")) family?.samples.push(labelled(line, worker));
    else if (comment) {
      if (comment[1] !== name) {
        name = comment[1]!;
        isKnown = families.has(name);
        family = families.get(name) ?? { head: [], samples: [] };
        families.set(name, family);
      }
      if (!isKnown) family!.head.push(line);
    }
  }
}

/** Puts the label in front of the others. */
function labelled(sample: string, worker: string): string {
  const end = sample.search(/[{ ]/);
  const label = `worker="${worker}"`;
  const rest = sample.slice(end + 1);
  const name = sample.slice(0, end);
  if (sample[end] === " ") return `${name}{${label}} ${rest}`;
  return rest.startsWith("}") ? `${name}{${label}${rest}` : `${name}{${label},${rest}`;
}
