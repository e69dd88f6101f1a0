Feature: Answers
  Scenario: One answer
    Given a question
    When the model is asked
    Then it answers
