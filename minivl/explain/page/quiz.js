// Teacher's mode: the page asks before it shows. Questions come from the numbers themselves, so there is one for each step.

const answered = new Map(); // step -> what was chosen
const score = { right: 0, asked: 0 };

// {ask, options, right, because} of a step; null where there is nothing to ask.
function questionOf(s) {
  if (s.kind === 'mask') {
    const m = book().masks[s.mask],
      whole = array(`mask/${s.mask}`, lastTime()),
      [i, j] = pairOf(m, whole);
    return {
      ask: `May “${nameOf(m.queries[i])}” look at “${nameOf(m.keys[j])}”?`,
      options: ['yes', 'no'],
      right: whole.data[i * m.keys.length + j] ? 'yes' : 'no',
      because: whyNot(m, s.mask, i, j),
    };
  }
  if (s.kind === 'choices') {
    const rows = s.choices[time()].rows,
      r = rows[Math.min(rows.length - 1, 2)],
      options = [...new Set([...r.top.slice(0, 3).map(([id]) => pieceName(id)), pieceName(r.truth)])].sort();
    return {
      ask: `Behind “${nameOf(r.row)}”: which word does the model expect most?`,
      options,
      right: pieceName(r.top[0][0]),
      because: `It gives “${pieceName(r.top[0][0])}” ${r.top[0][1].toFixed(2)}; “${pieceName(r.truth)}” really follows.`,
    };
  }
  if (s.kind === 'pairs')
    return {
      ask: 'In a perfect model, which share would the framed squares on the diagonal have?',
      options: ['0', `1 / ${book().about.rows}`, '1'],
      right: '1',
      because: 'Each picture would give its own text everything; −log 1 = 0.',
    };
  if (s.kind === 'backward' && s.variants[0].value === undefined)
    return {
      ask: 'The gradient of these numbers has the shape of',
      options: ['the numbers themselves', 'the loss', 'the weights'],
      right: 'the numbers themselves',
      because: 'One derivative for each number: how much the loss would change with it.',
    };
  if (s.kind === 'word-gradients')
    return {
      ask: 'How long is the gradient at a pad?',
      options: ['0', 'like a word’s', 'longest of all'],
      right: '0',
      because: 'Nobody may look at a pad, so no way leads back to it.',
    };
  if (s.kind === 'weights')
    return {
      ask: 'What does a row of weights add up to?',
      options: ['0', '1', 'the number of keys'],
      right: '1',
      because: 'The softmax shares out exactly 1 among the keys that are allowed.',
    };
  const axes = (s.variants[0].axes || []).map(a => a[1]);
  if (axes.length < 2) return null;
  const told = a => `(${a.join(', ')})`,
    wrong = [[...axes.slice(0, -2), axes.at(-1), axes.at(-2)], [...axes.slice(0, -1), axes.at(-1) * 2], axes.slice(1)];
  const options = [...new Set([told(axes), ...wrong.map(told)])].sort();
  return {
    ask: 'What is the shape of what comes out of this step?',
    options,
    right: told(axes),
    because: `${s.variants[0].axes.map(([l, n]) => (l === String(n) ? l : `${l} = ${n}`)).join(', ')}.`,
  };
}

// {card, done}: the question of a step and, once it is answered, whether that was right.
function quizCard(s) {
  const q = whole.quiz && s.kind !== 'overview' ? questionOf(s) : null;
  if (!q) return null;
  const given = answered.get(s.key),
    place = `${s.key}`;
  const buttons = q.options.map((option, i) =>
    el(
      'button',
      {
        id: `answer-${i}`,
        disabled: given !== undefined,
        className: given === undefined ? '' : option === q.right ? 'is-right' : option === given ? 'is-wrong' : '',
        onclick: () => {
          answered.set(place, option);
          score.asked += 1;
          score.right += option === q.right;
          render();
          $('said').textContent = option === q.right ? 'right' : `no: ${q.right}`;
          $('step').focus();
        },
      },
      option,
    ),
  );
  const shown =
    given === undefined
      ? el(
          'p',
          { className: 'note' },
          'The step is shown when you have answered. ',
          el(
            'button',
            {
              id: 'reveal',
              onclick: () => {
                answered.set(place, null);
                render();
              },
            },
            'just show it',
          ),
        )
      : el(
          'p',
          {},
          el('b', {}, given === q.right ? 'Right. ' : given === null ? '' : `No: ${q.right}. `),
          q.because,
          el('span', { className: 'note' }, `  ${score.right} of ${score.asked} right so far`),
        );
  return {
    done: given !== undefined,
    card: el(
      'section',
      { className: 'card quiz' },
      el('h2', {}, 'Before you look'),
      el('p', { className: 'says' }, q.ask),
      el('div', { className: 'answers' }, buttons),
      shown,
    ),
  };
}
