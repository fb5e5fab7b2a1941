/** What an expression of PromQL names, as far as the project's dashboard and alerts use the language. */

/** A metric and the labels that its selector asks for. */
export interface Selector {
  readonly metric: string;
  readonly labels: readonly string[];
}

/** What an expression names. */
export interface Expression {
  readonly selectors: readonly Selector[];
  /** Labels that series are grouped or matched by. */
  readonly grouping: readonly string[];
}

const operators = new Set(["and", "or", "unless", "bool", "offset"]);

/** Takes an expression apart. */
export function readExpression(text: string): Expression {
  const grouping: string[] = [];
  const plain = text.replaceAll(/"[^"]*"/g, '""')
    .replaceAll(/\b(?:by|on|without|ignoring) \(([^)]*)\)/g, (_, names: string) => {
      grouping.push(...names.split(",").map((name) => name.trim()));
      return "";
    })
    .replaceAll(/\[[^\]]*\]/g, "");
  const selectors = [...plain.matchAll(/(?<![\w.])([a-zA-Z_:][\w:]*)(\{[^}]*\})?(\s*\()?/g)]
    .filter(([, name, , call]) => call === undefined && !operators.has(name!))
    .map(([, metric, braces = ""]) => ({
      metric: metric!,
      labels: [...braces.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)].map((match) => match[1]!),
    }));
  return { selectors, grouping };
}
