// A detector in JavaScript: use of a cloud account's root user.

const RULE = {
  id: 'root-use',
  title: 'The root user acted',
  description: "Root has no limits. Find out who used it and why; lock its credentials away.",
  severity: 'high',
  techniques: ['T1078.004'],
};

const COLUMNS = ['actor_user_type', 'api_operation'];
const utf8 = new TextDecoder();

/** Reads a text column: `(row) => string`, or null. */
function texts({ values, valid }) {
  const { offsets, data } = values.val;
  return (row) => (valid.length > 0 && valid[row] === 0 ? null : utf8.decode(data.subarray(offsets[row], offsets[row + 1])));
}

export function configure(json) {
  if (!['', '{}'].includes(json.trim())) throw `this plugin takes no configuration, but was given ${json}`;
  return {
    id: 'root-use-javascript',
    version: '0.1.0',
    description: "Use of a cloud account's root user, in JavaScript.",
    classes: [],
    layers: ['cloud'],
    columns: COLUMNS,
    key: [],
    stateVersion: 1,
    wantsTime: false,
    rules: [RULE],
    configSchema: '',
  };
}

export function detect({ rows, columns }) {
  const [kind, operation] = columns.map(texts);
  const detections = [];
  for (let row = 0; row < rows; row += 1) {
    if (kind(row) === 'Root') {
      detections.push({
        rule: RULE.id,
        shownBy: { tag: 'rows', val: Uint32Array.of(row) },
        severity: undefined,
        message: `the root user called ${operation(row) ?? 'an operation'}`,
        entities: [],
      });
    }
  }
  return { detections, relations: [], keysEvicted: 0n };
}

// No state.
export const advance = () => ({ detections: [], relations: [], keysEvicted: 0n });
export const save = () => new Uint8Array();
export const restore = () => {};
