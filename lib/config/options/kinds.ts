/**
 * The kinds of value that an option can have. Each is a zod schema from the text of the command line
 * or the environment to the typed value, and the word that stands for the value in the help text.
 *
 * Every issue's message completes a sentence that begins with the option's name: "must be …".
 */
import { z } from "zod";
import {
  type ListenAddress,
  parseHost,
  parseListenAddress,
  parseTargetAddress,
  type TargetAddress,
} from "./address.ts";
import { AddressRanges } from "../../domain/address_ranges.ts";
import { parseDurationMs } from "./duration.ts";

/** How the text of an option becomes its value. */
export interface Kind<Value> {
  /** Stands for the value in the help text; empty for a switch, which needs none. */
  readonly placeholder: string;
  readonly schema: z.ZodType<Value, string>;
  /** What the value must be in a chart; a string unless given. */
  readonly json?: JsonSchema;
  /** True for a boolean: `--name` alone means true, and the next argument is not its value. */
  readonly isSwitch?: true;
}

/** The part of JSON Schema that options need. */
export interface JsonSchema {
  readonly type: "string" | "integer" | "number" | "boolean" | "array";
  readonly description?: string;
  readonly items?: JsonSchema;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly pattern?: string;
  readonly enum?: readonly string[];
}

/** Both ends included. */
export interface Range {
  readonly min: number;
  readonly max?: number;
}

/**
 * A timer cannot wait longer than 2^31 - 1 ms (596 hours and a half): one that is set to more fires
 * at once, so that a very long timeout would be none.
 */
const MAX_TIMER_HOURS = 596;

/** Builds a schema from a parser that returns undefined for text that is not what was expected. */
export function parsedBy<Value>(
  parse: (text: string) => Value | undefined,
  expected: string,
): z.ZodType<Value, string> {
  return z.string().transform((text, context) => {
    const value = parse(text);
    if (value !== undefined) return value;
    context.addIssue({ code: "custom", message: expected });
    return z.NEVER;
  });
}

// What Go's flag package takes for a boolean.
const BOOLEANS: ReadonlyMap<string, boolean> = new Map([
  ...["1", "t", "T", "true", "True", "TRUE"].map((text) => [text, true] as const),
  ...["0", "f", "F", "false", "False", "FALSE"].map((text) => [text, false] as const),
]);

/** True or false, as Go's flag package writes them. */
export const boolean: Kind<boolean> = {
  placeholder: "",
  schema: parsedBy((text) => BOOLEANS.get(text), "must be true or false"),
  json: { type: "boolean" },
  isSwitch: true,
};

/** The path of a file; whether the file is there is checked by who reads it. */
export const path: Kind<string> = {
  placeholder: "FILE",
  schema: parsedBy(
    // Text that begins a PEM block or spans lines is a file's contents given in place of its name.
    (text) => /[\n\r\0]|-----BEGIN/.test(text) ? undefined : text,
    "must be the path of a file, not the file's contents",
  ),
};

/** An address to listen on. */
export const listenAddress: Kind<ListenAddress> = {
  placeholder: "ADDRESS",
  schema: parsedBy(
    parseListenAddress,
    "must be an address to listen on such as :8080, 127.0.0.1:8080 or [::1]:8080",
  ),
};

/** What a target's address must look like; shared with the clusters file. */
export const TARGET_EXPECTED =
  "must be HOST:PORT such as kubernetes.default.svc:443, 10.0.0.1:6443 or [fd00::1]:6443";

/** The address of a target. */
export const targetAddress: Kind<TargetAddress> = {
  placeholder: "HOST:PORT",
  schema: parsedBy(parseTargetAddress, TARGET_EXPECTED),
};

/** IP addresses and ranges of them. */
export const addressRanges: Kind<AddressRanges> = {
  placeholder: "CIDRS",
  schema: parsedBy(
    (text) => AddressRanges.parse(text),
    "must be IP addresses or ranges such as 10.0.0.0/8, separated by commas; " +
      "the bits of a range's address beyond its length must be 0",
  ),
};

/** A name or an IP address, without a port and without brackets. */
export const hostName: Kind<string> = {
  placeholder: "NAME",
  schema: parsedBy(parseHost, "must be a host name or an IP address, without a port"),
};

/** A Go duration in milliseconds. @param maxHours For what no timer waits for; else 596. */
export function duration(
  { min, maxHours = MAX_TIMER_HOURS }: { readonly min: "0" | "1ms"; readonly maxHours?: number },
): Kind<number> {
  const minMs = min === "0" ? 0 : 1;
  const bounds = minMs === 0
    ? `at most ${maxHours}h, or 0`
    : `at least 1ms and at most ${maxHours}h`;
  return {
    placeholder: "DURATION",
    schema: parsedBy(
      (text) => within({ min: minMs, max: maxHours * 3_600_000 }, parseDurationMs(text)),
      `must be a duration with its unit (30s, 1m30s, 500ms) of ${bounds}`,
    ),
    json: {
      type: "string",
      description: "A duration such as 30s, 1m30s or 500ms",
      pattern: "^(0|([0-9]+(\\.[0-9]+)?(ms|s|m|h))+)$",
    },
  };
}

/** A whole number. */
export function integer(range: Range): Kind<number> {
  const max = range.max ?? Number.MAX_SAFE_INTEGER;
  const bounds = range.max === undefined
    ? `of at least ${range.min}`
    : `from ${range.min} to ${range.max}`;
  return {
    placeholder: "NUMBER",
    schema: parsedBy(
      (text) => /^\d+$/.test(text) ? within({ min: range.min, max }, Number(text)) : undefined,
      `must be a whole number ${bounds}`,
    ),
    json: {
      type: "integer",
      minimum: range.min,
      ...range.max !== undefined && { maximum: range.max },
    },
  };
}

/** A number that may have decimals. */
export function number({ min }: { readonly min: number }): Kind<number> {
  const max = Number.MAX_SAFE_INTEGER;
  return {
    placeholder: "NUMBER",
    schema: parsedBy(
      (text) => /^\d+(?:\.\d+)?$/.test(text) ? within({ min, max }, Number(text)) : undefined,
      `must be a number of at least ${min}`,
    ),
    json: { type: "number", minimum: min },
  };
}

/** One of a few words, in upper or lower case. */
export function choice<const Word extends string>(
  placeholder: string,
  words: readonly Word[],
): Kind<Word> {
  return {
    placeholder,
    schema: parsedBy(
      (text) => words.find((word) => word === text.toLowerCase()),
      `must be one of ${words.join(", ")}`,
    ),
    json: { type: "string", enum: words },
  };
}

/** Several values with commas between; spaces around them do not count. */
export function listOf<Value>(kind: Kind<Value>): Kind<readonly Value[]> {
  return {
    placeholder: `${kind.placeholder},…`,
    schema: z.string().transform((text, context) => {
      const values: Value[] = [];
      for (const [index, entry] of text.split(",").entries()) {
        const result = kind.schema.safeParse(entry.trim());
        if (result.success) {
          values.push(result.data);
          continue;
        }
        const message = `has entry ${index + 1}, which ${result.error.issues[0]?.message}`;
        context.addIssue({ code: "custom", message });
        return z.NEVER;
      }
      return values;
    }),
    json: { type: "array", items: kind.json ?? { type: "string" } },
  };
}

/** A file's path, or JSON in its place. Who reads it tells them apart. */
export const fileOrJson: Kind<string> = { placeholder: "FILE|JSON", schema: z.string() };

/** A file's path, a directory's, or JSON in their place. */
export const fileDirOrJson: Kind<string> = { placeholder: "FILE|DIR|JSON", schema: z.string() };

function within(range: Required<Range>, value: number | undefined): number | undefined {
  const isWithin = value !== undefined && value >= range.min && value <= range.max;
  return isWithin ? value : undefined;
}
